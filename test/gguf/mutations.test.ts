import { expect, test } from "vitest"
import { openCheckpoint } from "../../src/model/checkpoint.ts"
import { memoryFolder } from "../../src/model/source.ts"
import { ggufOf, tokenizerMetadata } from "../helpers/gguf_conversion.ts"
import { fixtureJson, readFolder, readGolden, seededRandom } from "../model/fixture_folders.ts"

const MUTATIONS = 1000

type Random = () => number
const below = (random: Random, n: number) => Math.floor(random() * n)

/** Changes bits or bytes of the header, puts a number where there was another, cuts, inserts or removes. */
function mutate(file: Uint8Array, header: number, random: Random): Uint8Array {
  const at = random() < 0.15 ? below(random, 24) : below(random, header)
  const copy = file.slice()
  const view = new DataView(copy.buffer)
  const kind = random()
  if (kind < 0.35) copy[at] = copy[at]! ^ (1 << below(random, 8))
  else if (kind < 0.5) copy[at] = below(random, 256)
  else if (kind < 0.6) view.setUint32(at, [0, 1, 7, 2 ** 31, 2 ** 32 - 1][below(random, 5)]!, true)
  else if (kind < 0.7) view.setBigUint64(at, [0n, 1n, 2n ** 31n, 2n ** 53n, 2n ** 64n - 1n][below(random, 5)]!, true)
  else if (kind < 0.8) return file.slice(0, random() < 0.5 ? at : below(random, file.length))
  else if (kind < 0.9) {
    return new Uint8Array(Buffer.concat([file.subarray(0, at), Buffer.alloc(1 + below(random, 40)), file.subarray(at)]))
  } else return new Uint8Array(Buffer.concat([file.subarray(0, at), file.subarray(at + 1 + below(random, 40))]))
  return copy
}

test("openCheckpoint opens or clearly refuses 1000 mutated GGUF files, each within a second", async () => {
  const stories = readFolder("test/fixtures/stories260K")
  const tokenizer = tokenizerMetadata(fixtureJson("stories260K/tokenizer.json") as never, { gemma: false })
  const files = [
    ggufOf(readGolden("tiny-gemma3"), "Q4_0"),
    ggufOf(readGolden("tiny-gemma2"), "Q8_0"),
    ggufOf(stories, "F32", tokenizer),
  ]
  const headers = [5000, 4000, 20_000]
  const random = seededRandom(7)
  const outcomes: Record<string, number> = {}
  let most = 0
  for (let i = 0; i < MUTATIONS; i++) {
    const file = mutate(files[i % 3]!, headers[i % 3]!, random)
    const start = performance.now()
    const before = process.memoryUsage().arrayBuffers
    const error: unknown = await open(file).then(
      () => undefined,
      (error) => error,
    )
    most = Math.max(most, process.memoryUsage().arrayBuffers - before)
    const elapsed = performance.now() - start
    if (elapsed > 1000) throw new Error(`mutation ${i} took ${elapsed} ms`)
    const kind = error instanceof Error ? error.constructor.name : "opened"
    outcomes[kind] = (outcomes[kind] ?? 0) + 1
    if (error === undefined) continue
    const message = error instanceof Error ? error.message : String(error)
    const known = error instanceof SyntaxError || error instanceof RangeError || error instanceof TypeError
    // Our own errors name a file and both values; an engine's would be a bug of ours.
    if (!known || !/^(m\.gguf|tokenizer\w*\.json): .*expected /s.test(message) || message.length > 600) {
      throw new Error(`mutation ${i} gave ${kind}: ${message}`, { cause: error })
    }
  }
  for (const kind of ["opened", "SyntaxError", "RangeError", "TypeError"]) expect(outcomes[kind]).toBeGreaterThan(20)
  expect(most).toBeLessThan(64 * 2 ** 20)
})

/** A model, and the tokenizer in it. */
async function open(file: Uint8Array): Promise<void> {
  const { folder } = await openCheckpoint(memoryFolder("folder", new Map([["m.gguf", file]])))
  await folder.open("tokenizer.json")
  await folder.open("tokenizer_config.json")
}
