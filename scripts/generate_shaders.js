// Reads wgsl/*.wgsl and writes src/kernels/shaders.ts: each kernel's source beside what its wrapper must bind, so that
// a missing buffer or a misspelt parameter is a type error, and so that no runtime needs to load .wgsl files.
import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"

const root = new URL("../", import.meta.url)
const read = (path) => readFileSync(new URL(path, root), "utf8")
const files = (folder) =>
  readdirSync(new URL(folder, root))
    .filter((name) => name.endsWith(".wgsl"))
    .sort()

/** A kernel's link to a family of flavours; `as` gives the binding, and so all that the family defines, another name. */
const FAMILY = /^\/\/ links lib\/(\w+)_\*\.wgsl(?: as (\w+))?$/gm

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
  const flavours = [...source.matchAll(FAMILY)].map(([, family, alias = family]) => alias)
  return { name, bindings, params, paramsIndex: uniform ? Number(uniform[1]) : null, overrides, flavours }
}

/** `weight`, `weight_row` and `WeightRow` become `q_norm`, `q_norm_row` and `QNormRow`. */
function renamed(source, family, alias) {
  const type = (name) => name.replace(/(?:^|_)(\w)/g, (_, letter) => letter.toUpperCase())
  return source
    .replace(new RegExp(`\\b${family}(?![a-z])`, "g"), alias)
    .replace(new RegExp(`\\b${type(family)}(?![a-z])`, "g"), type(alias))
}

/** The other names that families go by, each with the family. */
const aliases = new Map()
let text = "// Written by scripts/generate_shaders.js from wgsl/. Do not edit.\n"
for (const file of files("wgsl/")) {
  const name = file.replace(".wgsl", "")
  const plain = read(`wgsl/${file}`)
  const links = [...plain.matchAll(/^\/\/ links (lib\/\w+\.wgsl)$/gm)].map(([, lib]) => read(`wgsl/${lib}`))
  const source = [plain, ...links].join("\n")
  for (const [, family, alias] of source.matchAll(FAMILY)) if (alias) aliases.set(alias, family)
  const info = describe(name, source)
  text += `\nexport const ${name} = ${JSON.stringify({ ...info, source })} as const\n`
}
const libs = Object.fromEntries(files("wgsl/lib/").map((file) => [file.replace(".wgsl", ""), read(`wgsl/lib/${file}`)]))
for (const [name, source] of Object.entries(libs)) {
  for (const [alias, family] of aliases) {
    if (name.startsWith(`${family}_`)) libs[name.replace(family, alias)] = renamed(source, family, alias)
  }
}
text += `\nexport const libs: Readonly<Record<string, string>> = ${JSON.stringify(libs)}\n`

const target = new URL("src/kernels/shaders.ts", root)
const temporary = new URL(`src/kernels/.shaders-${process.pid}.ts`, root)
writeFileSync(temporary, text)
renameSync(temporary, target)
