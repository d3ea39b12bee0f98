import { expect, test } from "vitest"
import { openCheckpoint } from "../../src/model/checkpoint.ts"
import { memoryFolder } from "../../src/model/source.ts"
import { type Files, readFolder, readGolden, seededRandom } from "./fixture_folders.ts"

const MUTATIONS = 2000

type Random = () => number
const pick = <T>(random: Random, items: readonly T[]): T => items[Math.floor(random() * items.length)]!

/** Values that have broken parsers. */
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  0.5,
  3,
  4096,
  1e9,
  2 ** 31,
  2 ** 53,
  1e308,
  -1e308,
  "",
  "x",
  "0",
  "../x",
  "F32",
  "I64",
  "__proto__",
  "linear",
  "full_attention",
  [],
  [0],
  [-1],
  [[]],
  {},
  { a: 1 },
  { rope_type: "linear", factor: 0 },
  [1, "a", null],
  "\ud800",
  "a\0b",
  new Array(50).fill(1),
]

/** Changes one value somewhere inside: swaps it, deletes it, doubles it, adds a key, or shuffles with a sibling. */
function mutateJson(json: unknown, random: Random): unknown {
  if (typeof json !== "object" || json === null || random() < 0.1) return pick(random, VALUES)
  const keys = Object.keys(json)
  const key = keys.length > 0 ? pick(random, keys) : "new"
  const copy = (Array.isArray(json) ? [...json] : { ...json }) as Record<string, unknown>
  const kind = random()
  if (kind < 0.15) {
    if (Array.isArray(copy)) copy.splice(Number(key), 1)
    else delete copy[key]
  } else if (kind < 0.25) {
    Object.defineProperty(copy, pick(random, ["__proto__", "constructor", "extra", "toString", "0"]), {
      value: pick(random, VALUES),
      enumerable: true,
    })
  } else if (kind < 0.35) copy[key] = copy[pick(random, keys)]
  else if (kind < 0.45 && typeof copy[key] === "number") copy[key] = copy[key] + pick(random, [-1, 1, 4, 0.5, 1e6])
  else copy[key] = mutateJson(copy[key], random)
  return copy
}

const encode = (text: string) => new TextEncoder().encode(text)
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

/** Byte flips near the front, where the structure is, truncation, insertion, removal. */
function mutateBytes(bytes: Uint8Array, random: Random): Uint8Array {
  const reach = random() < 0.8 ? Math.min(bytes.length, 8000) : bytes.length
  const at = random() < 0.15 ? Math.floor(random() * 8) : Math.floor(random() * reach)
  const noise = Uint8Array.from({ length: 1 + Math.floor(random() * 16) }, () => random() * 256)
  const kind = random()
  if (kind < 0.5) {
    const copy = bytes.slice()
    copy[at] = copy[at]! ^ (1 << Math.floor(random() * 8))
    return copy
  }
  if (kind < 0.7) return bytes.slice(0, at)
  if (kind < 0.8) return new Uint8Array(Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at)]))
  if (kind < 0.9) return new Uint8Array(Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + noise.length)]))
  const copy = bytes.slice()
  copy.set(noise.subarray(0, bytes.length - at), at)
  return copy
}

/** Changes a digit run, so that a header stays JSON but tells another size. */
function mutateNumber(bytes: Uint8Array, random: Random): Uint8Array {
  const text = decode(bytes)
  const numbers = [...text.matchAll(/\d+/g)]
  if (numbers.length === 0) return bytes
  const { 0: old, index } = pick(random, numbers)
  const other = random() < 0.5 ? pick(random, numbers)[0] : String(pick(random, [0, -1, 7, 2 ** 31, 2 ** 53, 1e300]))
  return encode(text.slice(0, index) + other + text.slice(index + old.length))
}

/** The header of a safetensors file through a change of its JSON, its length field made right again. */
function mutateHeader(bytes: Uint8Array, change: (header: Uint8Array) => Uint8Array): Uint8Array {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
  const header = change(bytes.subarray(8, 8 + length))
  const size = new Uint8Array(8)
  new DataView(size.buffer).setBigUint64(0, BigInt(header.length), true)
  return new Uint8Array(Buffer.concat([size, header, bytes.subarray(8 + length)]))
}

function mutate(files: Files, random: Random): Files {
  const names = [...files.keys()].filter((name) => !name.startsWith("tokenizer") && !name.endsWith(".md"))
  const name = pick(random, [...names, "config.json"])
  const bytes = files.get(name)!
  const mutated = new Map(files)
  const swap = (bytes: Uint8Array) => encode(JSON.stringify(mutateJson(JSON.parse(decode(bytes)), random)))
  const weights = name.endsWith(".safetensors")
  const kind = random()
  if (kind < 0.02) mutated.delete(name)
  else if (kind < 0.04) mutated.set(name, files.get(pick(random, names))!)
  else if (kind < 0.35) mutated.set(name, mutateBytes(bytes, random))
  else if (kind < 0.55) {
    const change = (bytes: Uint8Array) => mutateNumber(bytes, random)
    mutated.set(name, weights ? mutateHeader(bytes, change) : change(bytes))
  } else mutated.set(name, weights ? mutateHeader(bytes, swap) : swap(bytes))
  return mutated
}

test("openCheckpoint opens or clearly refuses 2000 mutated folders, each within a second", async () => {
  const folders: Files[] = [
    readGolden("tiny-gemma3-rope8-sharded"),
    readGolden("tiny-gemma3-mm"),
    readGolden("tiny-gemma3-bf16"),
    readFolder("test/fixtures/stories260K"),
  ]
  const random = seededRandom(20)
  const outcomes: Record<string, number> = {}
  for (let i = 0; i < MUTATIONS; i++) {
    let files = mutate(folders[i % folders.length]!, random)
    if (random() < 0.2) files = tryMutate(files, random)
    const start = performance.now()
    const error: unknown = await openCheckpoint(memoryFolder("folder", files)).then(
      () => undefined,
      (error) => error,
    )
    const elapsed = performance.now() - start
    if (elapsed > 1000) throw new Error(`mutation ${i} took ${elapsed} ms`)
    const kind = error === undefined ? "opened" : error instanceof Error ? error.constructor.name : typeof error
    outcomes[kind] = (outcomes[kind] ?? 0) + 1
    if (error === undefined) continue
    const message = error instanceof Error ? error.message : String(error)
    const known = error instanceof SyntaxError || error instanceof RangeError || error instanceof TypeError
    // Our own errors name a file and both values; an engine's would be a bug of ours.
    if (!known || !/^(folder|[\w./-]+\.(json|safetensors)): .*expected /s.test(message) || message.length > 600) {
      throw new Error(`mutation ${i} gave ${kind}: ${message}`, { cause: error })
    }
  }
  for (const kind of ["opened", "SyntaxError", "RangeError", "TypeError"]) expect(outcomes[kind]).toBeGreaterThan(50)
})

/** A second mutation on top, where the first left something readable. */
function tryMutate(files: Files, random: Random): Files {
  try {
    return mutate(files, random)
  } catch {
    return files
  }
}
