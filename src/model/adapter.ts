import { accumulate } from "../kernels/accumulate.ts"
import type { Device } from "../kernels/device.ts"
import { Run, ScratchPool } from "../kernels/run.ts"
import { format, type Matrix, type Tensor } from "../kernels/tensor.ts"
import { adaptedNorms, type Factors, type Linear, type LinearAdapter } from "./linear.ts"
import { freeVariable, type Parameter, readValues, writeValues } from "./parameter.ts"

/** The adapter of one linear layer in numbers, row-major. */
export interface AdapterFactors {
  readonly rank: number
  readonly scale: number
  readonly in: number
  readonly out: number
  /** `[rank, in]` */
  readonly a: Float32Array
  /** `[out, rank]` */
  readonly b: Float32Array
  /** `[rank, rank]`, in LaMDA */
  readonly s?: Float32Array | undefined
  /** What is added beside `scale * b s a`, and never changes: `b a` of these, a being the adapter's own where it is absent. */
  readonly offset?: { readonly a?: Float32Array | undefined; readonly b: Float32Array } | undefined
  /** `[out]`, in DoRA */
  readonly magnitude?: Float32Array | undefined
}

/** The adapter of one linear layer on the GPU. */
export interface AdapterModule {
  readonly rank: number
  readonly layer: LinearAdapter
  /** What may be trained, by the names that PEFT gives its files' tensors, without the module's. */
  readonly parameters: ReadonlyMap<string, Parameter>
}

/** An adapter on the GPU, by the paths of the linear layers that it is for. */
export type Adapter = ReadonlyMap<string, AdapterModule>

/** Name of the matrix between A and B. */
export const SIGMA = "sigma.weight"

/**
 * Puts an adapter on the GPU.
 *
 * @param linears of the model, by path
 * @throws {RangeError} for a module that the model does not have, or in another shape
 */
export function uploadAdapter(
  device: Device,
  linears: ReadonlyMap<string, Linear>,
  modules: ReadonlyMap<string, AdapterFactors>,
): Adapter {
  const adapter = new Map<string, AdapterModule>()
  for (const [name, factors] of modules) {
    const path = findLinear(linears, name)
    expectFits(name, linears.get(path)!, factors)
    adapter.set(path, uploadModule(device, factors))
  }
  return adapter
}

/** A layer's path in this checkpoint: what comes before `layers` depends on who saved it. */
function findLinear(linears: ReadonlyMap<string, Linear>, name: string): string {
  if (linears.has(name)) return name
  const inside = (path: string) => path.slice(path.indexOf("layers."))
  const found = [...linears.keys()].find((path) => inside(path) === inside(name))
  if (found !== undefined) return found
  const [example] = linears.keys()
  throw new RangeError(
    `adapter: ${name} is not in the model, expected linear layers such as ${example} (is the adapter for another base?)`,
  )
}

function expectFits(name: string, { shape, weight }: Linear, { in: C, out: N, magnitude }: AdapterFactors): void {
  if (magnitude && weight.kind !== "dense") {
    throw new RangeError(`adapter: ${name} is ${weight.kind} and the adapter is DoRA, expected a dense weight for it`)
  }
  if (shape[0] === N && shape[1] === C) return
  throw new RangeError(
    `adapter: ${name} is for a weight of ${format([N, C])}, expected ${format(shape)} (is the adapter for another base?)`,
  )
}

function uploadModule(device: Device, factors: AdapterFactors): AdapterModule {
  const { rank, scale, in: C, out: N, a, b, s, offset, magnitude } = factors
  const R = Math.ceil(rank / 4) * 4
  const parameters = new Map<string, Parameter>()
  const matrix = (name: string, stored: readonly [number, number], shape: readonly number[], values: Float32Array) => {
    const parameter = { variable: device.matrix("weights", stored, "f32"), shape }
    writeValues(device, parameter, values)
    if (name) parameters.set(name, parameter)
    return parameter.variable
  }
  const A = matrix("lora_A.weight", [R, C], [rank, C], a)
  const B = matrix("lora_B.weight", [N, R], [N, rank], b)
  const S = s && matrix(SIGMA, [R, R], [rank, rank], s)
  const layer: LinearAdapter = { a: A, b: B, s: S, scale, offset: offset && fixed(offset), dora: dora() }
  return { rank, layer, parameters }

  function fixed({ a, b }: NonNullable<AdapterFactors["offset"]>): Factors {
    return { a: a ? matrix("", [R, C], [rank, C], a) : A, b: matrix("", [N, R], [N, rank], b) }
  }

  function dora() {
    if (!magnitude) return undefined
    const variable: Tensor = device.tensor("weights", [N])
    parameters.set("lora_magnitude_vector", { variable, shape: [N] })
    device.write(variable, Float32Array.from(magnitude))
    return { magnitude: variable }
  }
}

/** Reads a module's adapter back as it is now. */
export async function readModule(device: Device, { rank, layer, parameters }: AdapterModule): Promise<AdapterFactors> {
  const read = async (name: string) => {
    const parameter = parameters.get(name)
    return parameter && (await readValues(device, parameter.variable, parameter.shape))
  }
  const [N, C] = [layer.b.shape[0], layer.a.shape[1]]
  const { offset, a } = layer
  return {
    rank,
    scale: layer.scale,
    in: C,
    out: N,
    a: (await read("lora_A.weight"))!,
    b: (await read("lora_B.weight"))!,
    s: await read(SIGMA),
    offset: offset && {
      a: offset.a === a ? undefined : await readValues(device, offset.a, [rank, C]),
      b: await readValues(device, offset.b, [N, rank]),
    },
    magnitude: await read("lora_magnitude_vector"),
  }
}

/** Gives an adapter's memory back. */
export function freeAdapter(device: Device, adapter: Adapter): void {
  for (const { layer } of adapter.values()) {
    const { a, b, s, offset, dora } = layer
    const matrices: (Matrix | undefined)[] = [a, b, s, offset?.a, offset?.b]
    for (const x of [...matrices, dora?.magnitude, dora?.norm]) if (x) freeVariable(device, x)
  }
}

/**
 * Computes the norms that DoRA divides by once, for an adapter that does not change any more.
 *
 * @returns whether there were any to compute
 */
export function fixNorms(device: Device, linears: ReadonlyMap<string, Linear>, adapter: Adapter): boolean {
  const loose = [...adapter].filter(([, { layer }]) => layer.dora && !layer.dora.norm)
  if (loose.length === 0) return false
  const run = new Run(device)
  for (const [path, { layer }] of loose) {
    const { weight, shape } = linears.get(path)!
    layer.dora!.norm = device.tensor("weights", [shape[0]])
    accumulate(run, layer.dora!.norm, adaptedNorms(run, weight, layer))
  }
  const pool = new ScratchPool(device)
  const plan = run.plan(pool)
  plan.submit()
  plan.dispose()
  pool.dispose()
  return true
}

/** Lets the norms follow the factors again. */
export function releaseNorms(device: Device, adapter: Adapter): void {
  for (const { layer } of adapter.values()) {
    if (!layer.dora?.norm) continue
    freeVariable(device, layer.dora.norm)
    layer.dora.norm = undefined
  }
}
