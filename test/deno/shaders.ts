// Compiles every kernel with Deno's shader compiler, Naga: in every flavour, with every value of its switches. Naga knows no
// subgroups: the variants that use them are for other runtimes alone.
//   deno run -A test/deno/shaders.ts
import type { Kernel } from "../../src/kernels/device.ts"
import * as shaders from "../../src/kernels/shaders.ts"

/** Values of the overrides that choose among code paths or sizes; others keep their default. */
const OVERRIDES: Readonly<Record<string, readonly number[]>> = {
  WORKGROUP: [32, 64, 256],
  SILU: [0, 1],
  GATED: [0, 1],
  SPLIT: [1, 32],
  TOKENS: [1, 8],
  BLOCKS: [1, 20],
  POST: [0, 1],
  NORM: [0, 1],
  COMBINE: [0, 1],
  HELD: [1, 512],
}

/** Kernels that read parts of one matrix, which are all of one type. */
const ONE_TYPE: readonly string[] = ["embed"]

const { libs, ...kernels } = shaders
const adapter = await navigator.gpu.requestAdapter()
if (!adapter)
  throw new Error("device: none found, expected an adapter of navigator.gpu (is a Vulkan driver installed?)")
const device = await adapter.requestDevice() // the default limits
let failures = 0

for (const kernel of Object.values(kernels).filter(({ source }) => !source.includes("enable subgroups;"))) {
  for (const flavour of flavoursOf(kernel)) {
    for (const constants of constantsOf(kernel)) {
      const what = [kernel.name, flavour.name || "plain", ...Object.entries(constants).map(([k, v]) => `${k}=${v}`)]
      const error = await compile(`${kernel.source}\n${flavour.source}`, constants)
      process.stdout.write(`shader ${what.join(" ")}: ${error ?? "ok"}\n`)
      if (error !== undefined) failures++
    }
  }
}
process.stdout.write(`${failures} failed\n`)
process.exitCode = failures > 0 ? 1 : 0

/** What is wrong with a shader, or undefined. */
async function compile(code: string, constants: Record<string, number>): Promise<string | undefined> {
  device.pushErrorScope("validation")
  const module = device.createShaderModule({ code })
  device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main", constants } })
  return (await device.popErrorScope())?.message
}

/** Every choice of a file of wgsl/lib for each family that a kernel links with. */
function flavoursOf(kernel: Kernel): { name: string; source: string }[] {
  const all = kernel.flavours.reduce(
    (all, family) => {
      const files = Object.entries(libs).filter(([name]) => name.slice(0, name.lastIndexOf("_")) === family)
      return all.flatMap((one) =>
        files.map(([name, source]) => ({ name: `${one.name} ${name}`.trim(), source: `${one.source}\n${source}` })),
      )
    },
    [{ name: "", source: "" }],
  )
  const types = (name: string) => new Set(name.split(" ").map((file) => file.slice(file.lastIndexOf("_"))))
  return ONE_TYPE.includes(kernel.name) ? all.filter(({ name }) => types(name).size === 1) : all
}

/** The defaults, then every combination of the values above. */
function constantsOf(kernel: Kernel): Record<string, number>[] {
  const combinations = kernel.overrides.reduce<Record<string, number>[]>(
    (all, name) => all.flatMap((one) => valuesOf(name).map((value) => ({ ...one, [name]: value }))),
    [{}],
  )
  return kernel.overrides.length === 0 ? [{}] : [{}, ...combinations]
}

function valuesOf(override: string): readonly number[] {
  const values = OVERRIDES[override]
  if (!values) throw new RangeError(`override ${override}: has no values, expected some in OVERRIDES above`)
  return values
}
