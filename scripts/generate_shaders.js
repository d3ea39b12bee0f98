// Reads wgsl/*.wgsl and writes src/kernels/shaders.ts: each kernel's source beside what its wrapper must bind, so that
// a missing buffer or a misspelt parameter is a type error, and so that no runtime needs to load .wgsl files.
import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"

const root = new URL("../", import.meta.url)
const read = (path) => readFileSync(new URL(path, root), "utf8")
const files = (folder) =>
  readdirSync(new URL(folder, root))
    .filter((name) => name.endsWith(".wgsl"))
    .sort()

/** Bindings, parameters and overrides as declared in the source. */
function describe(name, source) {
  const bindings = {}
  for (const [, index, access, binding] of source.matchAll(
    /@group\(0\) @binding\((\d+)\) var<storage, (read|read_write)> (\w+)/g,
  )) {
    bindings[binding] = { index: Number(index), access }
  }
  const params = {}
  const struct = source.match(/struct Params \{([^}]*)\}/)
  for (const [, field, type] of (struct?.[1] ?? "").matchAll(/(\w+): (u32|f32|i32)/g)) params[field] = type
  const uniform = source.match(/@group\(0\) @binding\((\d+)\) var<uniform> params: Params/)
  if (Boolean(struct) !== Boolean(uniform)) throw new Error(`wgsl/${name}.wgsl: struct Params without its binding`)
  const overrides = [...source.matchAll(/override (\w+):/g)].map((match) => match[1])
  const flavours = [...source.matchAll(/^\/\/ links lib\/(\w+)_\*\.wgsl/gm)].map((match) => match[1])
  return { name, bindings, params, paramsIndex: uniform ? Number(uniform[1]) : null, overrides, flavours }
}

let text = "// Written by scripts/generate_shaders.js from wgsl/. Do not edit.\n"
for (const file of files("wgsl/")) {
  const name = file.replace(".wgsl", "")
  const plain = read(`wgsl/${file}`)
  const links = [...plain.matchAll(/^\/\/ links (lib\/\w+\.wgsl)$/gm)].map(([, lib]) => read(`wgsl/${lib}`))
  const source = [plain, ...links].join("\n")
  const info = describe(name, source)
  text += `\nexport const ${name} = ${JSON.stringify({ ...info, source })} as const\n`
}
const libs = Object.fromEntries(files("wgsl/lib/").map((file) => [file.replace(".wgsl", ""), read(`wgsl/lib/${file}`)]))
text += `\nexport const libs: Readonly<Record<string, string>> = ${JSON.stringify(libs)}\n`

const target = new URL("src/kernels/shaders.ts", root)
const temporary = new URL(`src/kernels/.shaders-${process.pid}.ts`, root)
writeFileSync(temporary, text)
renameSync(temporary, target)
