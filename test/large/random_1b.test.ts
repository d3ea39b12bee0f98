import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, type LoadBytes, load, loadBytes, open } from "../../src/index.ts"
import { internals } from "../../src/session.ts"
import { expectClose } from "../helpers/compare.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { random1b } from "../helpers/random_1b.ts"
import * as reference from "../reference/quantized.ts"

const CONTEXT = 1024
const [V, C] = [262_144, 1152]
const PROMPT = Array.from({ length: 65 }, (_, i) => 7 + ((i * 7919) % 250_000))

describe("a checkpoint of Gemma 3 1B's shape in q4, with WebGPU's default limits", () => {
  let lm: LanguageModel
  let told: LoadBytes
  let hostBytes = 0

  beforeAll(async () => {
    const folder = await random1b()
    told = loadBytes(await open(folder), { context: CONTEXT, dtype: "q4" })
    const before = process.memoryUsage().rss
    const onProgress = () => {
      hostBytes = Math.max(hostBytes, process.memoryUsage().rss - before)
    }
    const options = { device: testDeviceKind(), context: CONTEXT, dtype: "q4", limits: "default" } as const
    lm = await load(folder, { ...options, onProgress })
  }, 300_000)
  afterAll(() => lm?.dispose())

  test("is rounded piece by piece: while it is loaded the process grows by what stays and little more", () => {
    expect(hostBytes).toBeLessThanOrEqual(told.total + 300e6)
  })

  test("prefills and decodes", async () => {
    const answer = lm.generate(PROMPT, { temperature: 0, maxTokens: 6, ignoreEos: true })
    for await (const _ of answer);
    expect(answer.tokens.length).toBe(6)
    const { prefillTokensPerSecond, decodeTokensPerSecond } = answer.timings
    const rates = [prefillTokensPerSecond, decodeTokensPerSecond].map((rate) => rate.toFixed(1))
    process.stderr.write(`Gemma 3 1B's shape in q4: prefill ${rates[0]} tokens/s, decode ${rates[1]} tokens/s\n`)
  })

  test("takes the bytes that its preflight names, and at most 64 MB for a step", () => {
    const { weights, cache, peak } = lm.memory
    expect([weights, cache]).toEqual([told.weights, told.cache])
    expect(peak).toBeLessThanOrEqual(told.total + 64e6)
  })

  test("has its embedding in two parts, and a head that gives what the rows on both sides of the seam say", async () => {
    const { device, packed } = internals(lm).model
    const { parts } = packed.get("model.embed_tokens.weight")!
    expect(parts.length).toBe(2)
    const seam = parts[1]!.firstRow
    const ids = PROMPT.slice(0, 6)
    const { data: logits } = await lm.logits(ids, { last: 2 })
    const normed = (await lm.hiddenStates(ids)).at(-1)!.data.slice(-C)
    const rows = await Promise.all(
      parts.map(async ({ tensor, rows }) => {
        const words = new Uint32Array(await device.read(tensor))
        const above = tensor === parts[0]!.tensor
        const first = above ? rows - 32 : 0 // rows lie in thirty-twos
        const group = words.subarray((first * C * 5) / 32, ((first + 32) * C * 5) / 32)
        const values = reference.valuesOf(reference.blocks(group, [32, C], "q4"))
        return above ? values.subarray(28 * C) : values.subarray(0, 4 * C)
      }),
    )
    const expected = rows.flatMap((four) =>
      [0, 1, 2, 3].map((row) => normed.reduce((sum, value, c) => sum + value * four[row * C + c]!, 0)),
    )
    const actual = logits.subarray(V + seam - 4, V + seam + 4)
    expectClose(actual, expected, { absolute: 1e-4 }, { what: "logits at the seam" })
  })
})
