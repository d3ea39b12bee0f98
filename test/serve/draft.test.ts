import { afterAll, beforeAll, describe, expect, test, vi } from "vitest"
import { type LanguageModel, load, randomCheckpoint } from "../../src/index.ts"
import { serveApp } from "../../src/serve/index.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { CONFIG } from "../helpers/quantized_models.ts"
import { asker, loadTiny } from "./helpers.ts"

let lm: LanguageModel
let draft: LanguageModel

beforeAll(async () => {
  lm = await loadTiny({ context: 128, sequences: 2 })
  draft = await loadTiny({ context: 128, sequences: 2, dtype: "q8", beside: lm })
})
afterAll(async () => {
  await draft.dispose()
  await lm.dispose()
})

/** What generations were asked to draft with, request by request. */
async function draftsOf(ask: () => Promise<unknown>): Promise<(LanguageModel | undefined)[]> {
  const generate = vi.spyOn(lm, "generate")
  try {
    await ask()
    return generate.mock.calls.map(([, options]) => options?.draft)
  } finally {
    generate.mockRestore()
  }
}

describe("a server with a draft", () => {
  test("answers what it does without, one at a time and two", async () => {
    const [plain, drafted] = [asker(lm), asker(lm, { draft, draftTokens: 3 })]
    const body = (seed: number) => ({ prompt: "Once upon a time", max_tokens: 24, temperature: 0.7, seed })
    const texts = async (ask: typeof plain) => {
      const one = await ask("/v1/completions", body(1))
      const two = await Promise.all([2, 3].map((seed) => ask("/v1/completions", body(seed))))
      return [one, ...two].map(({ json }) => json.choices[0].text)
    }
    const expected = await texts(plain)
    const drafts = await draftsOf(async () => expect(await texts(drafted)).toEqual(expected))
    expect(new Set(expected).size).toBe(3)
    expect(drafts).toEqual([draft, draft, draft])
  })

  test("does without it for a schema", async () => {
    const ask = asker(lm, { draft })
    const drafts = await draftsOf(async () => {
      const format = { type: "json_schema", json_schema: { name: "yes", schema: { type: "boolean" } } }
      const { json } = await ask("/v1/completions", { prompt: "Is it?", response_format: format, max_tokens: 8 })
      expect(["true", "false"]).toContain(json.choices[0].text.trim())
    })
    expect(drafts).toEqual([undefined])
  })

  test("refuses one that cannot be a draft before any request", async () => {
    const other = await load(await randomCheckpoint({ ...CONFIG, vocab_size: 600 }), {
      device: testDeviceKind(),
      context: 128,
      beside: lm,
    })
    try {
      expect(() => serveApp(lm, { draft: other })).toThrow(/draft/)
    } finally {
      await other.dispose()
    }
    expect(() => serveApp(lm, { draft, draftTokens: 17 })).toThrow("draftTokens is 17, expected")
  })
})
