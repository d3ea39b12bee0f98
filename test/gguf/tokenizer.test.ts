import { describe, expect, test } from "vitest"
import { openCheckpoint } from "../../src/model/checkpoint.ts"
import { readGgufHeader } from "../../src/model/gguf/header.ts"
import { ggufTokenizerConfig, ggufTokenizerJson } from "../../src/model/gguf/tokenizer.ts"
import { memoryFolder, memorySource, readJson } from "../../src/model/source.ts"
import { createTokenizer, type Tokenizer } from "../../src/tokenizer/tokenizer.ts"
import { ggufMetadata, ggufTensors, tokenizerMetadata } from "../helpers/gguf_conversion.ts"
import { type Entry, writeGguf } from "../helpers/gguf_writer.ts"
import { json, readFolder } from "../model/fixture_folders.ts"
import { files, type Name, readFixture, texts, tokenizerOf, vectorTexts } from "../tokenizer/fixtures.ts"

interface Vector {
  readonly text: string
  readonly ids: number[]
  readonly decoded: string
}

/** A model whose embedding has a row for each token, and nothing that a tokenizer would read from beside it. */
function checkpointWith(tokenizer: readonly Entry[], beside: ReadonlyMap<string, Uint8Array> = new Map()) {
  const model = readFolder("test/fixtures/stories260K")
  const tokens = tokenizer.find(([key]) => key === "tokenizer.ggml.tokens")![2] as string[]
  const tensors = ggufTensors(model, "F32").map((tensor) =>
    tensor.name === "token_embd.weight"
      ? { ...tensor, shape: [tokens.length, 64], bytes: new Uint8Array(tokens.length * 256) }
      : tensor,
  )
  const metadata = ggufMetadata(model).filter(([key]) => !key.startsWith("tokenizer."))
  const file = writeGguf([...metadata, ...tokenizer], tensors)
  return openCheckpoint(memoryFolder("folder", new Map(beside).set("model.gguf", file)))
}

async function tokenizerIn(tokenizer: readonly Entry[], beside?: ReadonlyMap<string, Uint8Array>): Promise<Tokenizer> {
  const { folder } = await checkpointWith(tokenizer, beside)
  const [tokenizerJson, tokenizerConfig] = [
    await readJson(folder, "tokenizer.json"),
    await readJson(folder, "tokenizer_config.json"),
  ]
  return createTokenizer({ tokenizerJson, tokenizerConfig })
}

/** The arrays of a tokenizer.json; of one that was no SentencePiece model, its merges too. */
function entriesOf(name: Name): Entry[] {
  const gemma = name === "storyteller"
  const { bos, eos, pad } = tokenizerOf(name)
  const written = tokenizerMetadata(files[name]().tokenizerJson, { gemma, merges: gemma })
  return [
    ...written,
    ["tokenizer.ggml.bos_token_id", "u32", bos],
    ["tokenizer.ggml.eos_token_id", "u32", eos],
    ...(pad === undefined ? [] : [["tokenizer.ggml.padding_token_id", "u32", pad] as Entry]),
  ]
}

// Gemma's is large: no model stands around it, and it is held to the vectors that its tokenizer.json is held to.
test("the tokenizer of gemma3 from a GGUF gives the ids and texts of Hugging Face's", async () => {
  const entries = tokenizerMetadata(files.gemma3().tokenizerJson)
  const file = writeGguf([...entries, ["tokenizer.ggml.bos_token_id", "u32", 2]], [])
  const header = await readGgufHeader(memorySource(file), "model.gguf")
  const tokenizerJson = ggufTokenizerJson(header, "model.gguf")
  const tokenizer = createTokenizer({ tokenizerJson, tokenizerConfig: ggufTokenizerConfig(header, "model.gguf") })
  const vectors = readFixture<Vector[]>("gemma3_hf_tokenizers_0.23.2_golden.json")
  expect(vectors.length).toBe(37)
  for (const { text, ids, decoded } of vectors) {
    expect(tokenizer.encode(text), text).toEqual(ids)
    expect(tokenizer.decode(ids, { skipSpecial: false })).toBe(decoded)
  }
  const others = readFixture<{ text: string; gemma3_ids: number[] }[]>("llamacpp_gemma4_inp_out.json")
  for (const { text, gemma3_ids: ids } of others) expect(tokenizer.encode(text, { bos: false }), text).toEqual(ids)
})

describe.each(["llama", "stories260K", "storyteller"] as const)("the tokenizer of %s from a GGUF", (name) => {
  test("gives the ids and texts of its tokenizer.json", async () => {
    const expected = tokenizerOf(name)
    const tokenizer = await tokenizerIn(entriesOf(name))
    expect([tokenizer.bos, tokenizer.eos, tokenizer.vocabSize]).toEqual([
      expected.bos,
      expected.eos,
      expected.vocabSize,
    ])
    for (const text of [...texts, ...vectorTexts()]) {
      const ids = expected.encode(text)
      expect(tokenizer.encode(text), text).toEqual(ids)
      expect(tokenizer.decode(ids, { skipSpecial: false }), text).toBe(expected.decode(ids, { skipSpecial: false }))
    }
  })
})

/** Storyteller's entries with some of them changed, or left out where the new one is undefined. */
function changed(change: Readonly<Record<string, Entry | undefined>>): Entry[] {
  return entriesOf("storyteller").flatMap((entry) => {
    const now = entry[0] in change ? change[entry[0]] : entry
    return now ? [now] : []
  })
}

describe("the tokenizer of a GGUF", () => {
  test("takes its chat template, and turns end an answer", async () => {
    const { chat_template: template } = files.storyteller().tokenizerConfig
    const tokenizer = await tokenizerIn([...entriesOf("storyteller"), ["tokenizer.chat_template", "string", template]])
    const messages = [{ role: "user", content: "A fox <end_of_turn> sang." }]
    expect(tokenizer.chat(messages)).toEqual(tokenizerOf("storyteller").chat(messages))
    const { config, generation } = await checkpointWith(entriesOf("storyteller"))
    expect(config.eos).toEqual([1, 6])
    expect(generation?.eos).toEqual([1, 6])
  })

  test("gives way to a tokenizer.json beside the file", async () => {
    const beside = new Map([["tokenizer.json", json(files.stories260K().tokenizerJson)]])
    const unreadable = changed({ "tokenizer.ggml.model": ["tokenizer.ggml.model", "string", "gpt2"] })
    const tokenizer = await tokenizerIn(
      unreadable.filter(([key]) => !key.endsWith("_id")),
      beside,
    )
    const text = "Once upon a time"
    expect(tokenizer.encode(text, { bos: false })).toEqual(tokenizerOf("stories260K").encode(text, { bos: false }))
  })

  test("is none where the file has none", async () => {
    const { folder } = await checkpointWith(changed({ "tokenizer.ggml.model": undefined }))
    expect(await folder.open("tokenizer.json")).toBeUndefined()
  })

  const TOKENS = "tokenizer.ggml.tokens"
  test.each([
    [
      "tokenizer.ggml.model",
      "string",
      "gpt2",
      TypeError,
      /tokenizer\.ggml\.model is "gpt2", expected "llama" \(a tokenizer\.json/,
    ],
    ["tokenizer.ggml.scores", "f32", [1, 2], SyntaxError, /scores is of 2, expected a number for each of 4096 tokens/],
    ["tokenizer.ggml.token_type", "string", "x", SyntaxError, /token_type is "x", expected a number for each/],
    ["tokenizer.ggml.merges", "string", ["ab"], SyntaxError, /merges\[0\] is "ab", expected two tokens/],
    ["tokenizer.ggml.merges", "u8", [1], SyntaxError, /merges is .*expected a list of strings/],
    ["tokenizer.ggml.add_space_prefix", "u8", 1, TypeError, /add_space_prefix is 1, expected true or false/],
  ] as const)("is refused for its %s", async (key, kind, value, kindOfError, message) => {
    const { folder } = await checkpointWith(changed({ [key]: [key, kind, value] }))
    const error: unknown = await folder.open("tokenizer.json").catch((error) => error)
    expect(error).toBeInstanceOf(kindOfError)
    expect(String(error)).toMatch(/^\w+: model\.gguf: /)
    expect(String(error)).toMatch(message)
  })

  test("may not have more tokens than the embedding has rows", async () => {
    const model = readFolder("test/fixtures/stories260K")
    const entries: Entry[] = [...ggufMetadata(model), [TOKENS, "string", Array.from({ length: 513 }, String)]]
    const folder = memoryFolder("folder", new Map([["model.gguf", writeGguf(entries, ggufTensors(model, "F32"))]]))
    await expect(openCheckpoint(folder)).rejects.toThrow("tokenizer.ggml.tokens are 513, expected at most 512")
  })
})
