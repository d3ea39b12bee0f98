import { rm } from "node:fs/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { kvCacheBytesFormula, type LanguageModel, load } from "../../src/index.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { golden } from "../helpers/golden.ts"
import { SHA256, writeRandom270m } from "../helpers/random_270m.ts"
import { transformer } from "../helpers/transformer.ts"

const CONTEXT = 1024

describe("a checkpoint of Gemma 3 270M's shape", () => {
  const expected = golden("goldens/random-270m")
  let lm: LanguageModel
  let folder = ""
  let sha256 = ""

  beforeAll(async () => {
    ;({ folder, sha256 } = await writeRandom270m())
    lm = await load(folder, { device: testDeviceKind(), context: CONTEXT })
  })
  afterAll(async () => {
    await lm?.dispose()
    await rm(folder, { recursive: true, force: true })
  })

  test("has the bytes of the rule", () => {
    expect(sha256).toBe(SHA256)
  })

  test.each(expected.prompts.map(({ ids }, i) => ({ i, T: ids.length })))(
    "gives the golden's logits for a prompt of $T tokens",
    async ({ i }) => {
      const { data, shape } = await lm.logits(expected.prompts[i]!.ids, { last: 2 })
      const V = shape[1]!
      const topIds = expected.tensor(`prompt.${i}.top_ids`)
      const topLogits = expected.tensor(`prompt.${i}.top_logits`)
      let worst = 0
      topIds.data.forEach((id, j) => {
        const row = Math.floor(j / topIds.shape[1]!)
        const error = Math.abs(data[row * V + id]! - topLogits.data[j]!)
        worst = Math.max(error, worst)
      })
      expect(worst).toBeLessThanOrEqual(topLogits.tolerance)
    },
  )

  test("continues greedily as the golden does", async () => {
    const { ids, new_tokens } = expected.greedy[0]!
    const answer = lm.generate(ids, { temperature: 0, maxTokens: new_tokens.length, ignoreEos: true })
    for await (const _ of answer);
    expect(answer.tokens).toEqual(new_tokens)
  })

  test("takes at most its stored bytes, the cache's formula and 64 MB", () => {
    const stored = 2 * 268_098_176
    expect(lm.memory.weights).toBe(stored)
    expect(lm.memory.peak).toBeLessThanOrEqual(stored + kvCacheBytesFormula(transformer(lm.config), CONTEXT, 4) + 64e6)
  })
})
