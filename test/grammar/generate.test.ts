import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, load, memoryFolder, type Piece } from "../../src/index.ts"
import { expectClose } from "../helpers/compare.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { fixture } from "../helpers/golden.ts"
import { randomCheckpoint } from "../helpers/random_checkpoint.ts"
import { fits } from "../reference/json_schema.ts"
import { largest, logSoftmax } from "../reference/likeliest.ts"
import { SCHEMAS } from "./schemas.ts"

const device = testDeviceKind()
const JOINED = [
  '":',
  '"}',
  "}}",
  '"]',
  '","',
  '{"',
  ':"',
  "[[",
  "],[",
  "\n  ",
  "  ",
  "true",
  "nul",
  "é",
  "ab",
  '"a',
  "1.",
  "00",
]
/** Ids past those of the tokenizer, as padded vocabularies have them. */
const PADDED = 320

/** A tokenizer of all bytes and of tokens that join what JSON keeps apart. */
function hostileTokenizer(): Uint8Array {
  const control = ["<pad>", "<eos>", "<bos>", "<unk>"]
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`)
  const vocab = Object.fromEntries([...control, ...bytes, ...JOINED].map((token, id) => [token, id]))
  const json = {
    added_tokens: control.map((content, id) => ({ id, content, special: true })),
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" }] },
    model: { type: "BPE", vocab, merges: [], byte_fallback: true, unk_token: "<unk>" },
  }
  return new TextEncoder().encode(JSON.stringify(json))
}

async function hostileModel(): Promise<LanguageModel> {
  const folder = await randomCheckpoint({ vocab_size: PADDED, max_position_embeddings: 1024 }, 5)
  const files = new Map([["tokenizer.json", hostileTokenizer()]])
  for (const name of ["config.json", "model.safetensors"]) {
    const source = (await folder.open(name))!
    files.set(name, new Uint8Array(await source.slice(0, source.byteLength)))
  }
  return load(memoryFolder("hostile", files), { device, context: 1024 })
}

async function drain(generation: AsyncIterable<Piece>): Promise<Piece[]> {
  const pieces: Piece[] = []
  for await (const piece of generation) pieces.push(piece)
  return pieces
}

describe("generate with a schema, from random weights and a hostile tokenizer", () => {
  let lm: LanguageModel
  beforeAll(async () => {
    lm = await hostileModel()
  })
  afterAll(() => lm?.dispose())

  test.each(Object.entries(SCHEMAS))("gives what fits, or is cut: %s", async (_, schema) => {
    let finished = 0
    for (const [seed, options] of [
      [1, { temperature: 3 }],
      [2, { temperature: 1, topK: 5 }],
      [3, { temperature: 50, topP: 0.9, repetitionPenalty: 1.3 }],
    ] as const) {
      const answer = lm.generate([2, 100], { ...options, seed, schema, maxTokens: 120 })
      await drain(answer)
      if (answer.finishReason === "length") continue
      finished++
      expect(answer.finishReason).toBe("eos")
      expect(fits(schema, JSON.parse(answer.text)), answer.text).toBe(true)
    }
    expect(finished).toBeGreaterThan(0)
  })

  test("gives any JSON object for true, greedily too", async () => {
    let finished = 0
    for (let seed = 0; seed < 12; seed++) {
      const answer = lm.generate([2, 50 + seed], { temperature: seed && 9, seed, schema: true, maxTokens: 40 })
      await drain(answer)
      expect(answer.text).toMatch(/^\{/)
      if (answer.finishReason === "length") continue
      finished++
      expect(fits({ type: "object" }, JSON.parse(answer.text)), answer.text).toBe(true)
    }
    expect(finished).toBeGreaterThan(0)
  })

  test("gives the same for the same seed, however often", async () => {
    const options = { temperature: 5, seed: 8, schema: SCHEMAS.person!, maxTokens: 60 }
    const texts: string[] = []
    for (let i = 0; i < 3; i++) {
      const answer = lm.generate([2, 9], options)
      await drain(answer)
      texts.push(answer.text)
    }
    expect(new Set(texts).size).toBe(1)
    const other = lm.generate([2, 9], { ...options, seed: 9 })
    await drain(other)
    expect(other.text).not.toBe(texts[0])
  })

  test("reads one token at a time, and leaves answers without a schema as they were", async () => {
    const plain = { temperature: 0, maxTokens: 40, ignoreEos: true }
    const before = lm.generate([2, 9], plain)
    await drain(before)
    const masked = lm.generate([2, 9], { ...plain, schema: { type: "string", minLength: 50 } })
    expect((await drain(masked)).every(({ tokens }) => tokens.length === 1)).toBe(true)
    expect(masked.timings.readbacks).toBe(40)
    const after = lm.generate([2, 9], plain)
    await drain(after)
    expect(after.tokens).toEqual(before.tokens)
    expect(after.timings.readbacks).toBeLessThan(25)
  })

  test("ends as soon as nothing can follow, with or without end tokens", async () => {
    for (const ignoreEos of [false, true]) {
      const answer = lm.generate([2], { schema: { const: "é" }, ignoreEos, seed: 1, maxTokens: 9, temperature: 9 })
      await drain(answer)
      expect([answer.text, answer.finishReason]).toEqual(['"é"', "eos"])
    }
    const number = lm.generate([2], { schema: { type: "integer" }, ignoreEos: true, seed: 1, temperature: 9 })
    await drain(number)
    expect(number.text).toMatch(/^0$|^-?[1-9]\d{14}$/)
  })

  test("goes on past a full context, and stops before a stop string", async () => {
    const schema = { type: "string", minLength: 1000 }
    const folder = lm.generate(new Array(1000).fill(9), { schema, overflow: "shift", maxTokens: 60, seed: 4 })
    await drain(folder)
    expect([folder.tokens.length, folder.finishReason]).toEqual([60, "length"])
    const letters = { type: "string", pattern: "^[ab]{20}c$" }
    const stopped = lm.generate([2], { schema: letters, stop: ["c"], seed: 4, temperature: 9 })
    await drain(stopped)
    expect(stopped.text).toMatch(/^"[ab]{20}$/)
    expect(stopped.finishReason).toBe("stop")
  })

  test("refuses a bad schema at once, and one without a tokenizer", async () => {
    expect(() => lm.generate([2], { schema: { uniqueItems: true } })).toThrow(/^schema #: keyword is "uniqueItems"/)
    const bare = await load(fixture("goldens/tiny-gemma3"), { device, context: 64 })
    expect(() => bare.generate([2, 5], { schema: true })).toThrow(
      new TypeError("generate: a schema needs a tokenizer, expected a tokenizer.json in the folder"),
    )
    await bare.dispose()
  })

  test("tells log-probabilities under the model's own distribution, one for each token, with a schema and without", async () => {
    const prompt = [2, 9, 30]
    for (const schema of [undefined, SCHEMAS["short string"]]) {
      for (const logprobs of [0, 3, 20]) {
        const options = { temperature: 4, topK: 40, repetitionPenalty: 1.2, seed: 2, maxTokens: 40, logprobs, schema }
        const answer = lm.generate(prompt, options)
        const told = (await drain(answer)).flatMap((piece) => {
          expect(piece.logprobs?.map(({ token }) => token)).toEqual(piece.tokens)
          return piece.logprobs!
        })
        expect(told.length).toBe(answer.tokens.length)
        const { data } = await lm.logits([...prompt, ...answer.tokens])
        told.forEach(({ token, logprob, top }, i) => {
          const at = (prompt.length - 1 + i) * PADDED
          const expected = logSoftmax(data.subarray(at, at + PADDED))
          const ids = top.map((each) => each.token)
          const actual = [logprob, ...top.map((each) => each.logprob)]
          const what = `log-probabilities of token ${i}`
          expectClose(
            actual,
            [token, ...ids].map((id) => expected[id]!),
            { absolute: 2e-4 },
            { what },
          )
          const likeliest = largest(expected, logprobs).map((id) => expected[id]!)
          expectClose(actual.slice(1), likeliest, { absolute: 2e-4 }, { what: `the likeliest of token ${i}` })
        })
      }
    }
    const without = lm.generate(prompt, { maxTokens: 3, seed: 1 })
    expect((await drain(without)).every(({ logprobs }) => logprobs === undefined)).toBe(true)
    for (const logprobs of [-1, 21, 1.5]) expect(() => lm.generate(prompt, { logprobs })).toThrow(/logprobs is/)
  })

  test("leaves a step's GPU bytes where they were", async () => {
    const before = lm.memory.scratch
    for (let i = 0; i < 5; i++) {
      await drain(lm.generate([2], { schema: SCHEMAS.types!, logprobs: 2, seed: i }))
      for await (const _ of lm.generate([2], { schema: true, seed: i })) break
    }
    expect(lm.memory.scratch).toBe(before)
  })
})

describe("generate with a schema, from storyteller", () => {
  test("gives JSON of a vocabulary whose braces are bytes", async () => {
    const lm = await load(undefined, { device, context: 256 })
    const schema = {
      type: "object",
      properties: { hero: { type: "string", maxLength: 12 }, age: { type: "integer", minimum: 1, maximum: 99 } },
      required: ["hero", "age"],
    }
    const answer = lm.generate("Once upon a time, there was a little girl named Lily.", { schema, seed: 7 })
    await drain(answer)
    expect(answer.finishReason).toBe("eos")
    expect(fits(schema, JSON.parse(answer.text)), answer.text).toBe(true)
    await lm.dispose()
  })
})
