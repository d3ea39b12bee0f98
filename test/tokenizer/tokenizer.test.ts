import { readFileSync } from "node:fs"
import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers"
import { describe, expect, test } from "vitest"
import { createTokenizer } from "../../src/tokenizer/tokenizer.ts"
import { byteLevelJson, files, names, randomFrom, readFixture, texts, tokenizerOf, vectorTexts } from "./fixtures.ts"

interface Vector {
  text: string
  ids: number[]
  tokens: string[]
  decoded: string
  decoded_skip: string
}

describe.each(["gemma3", "gemma2"] as const)("%s against Hugging Face tokenizers", (name) => {
  const vectors = readFixture<Vector[]>(`${name}_hf_tokenizers_0.23.2_golden.json`)

  test("the file has its vectors", () => expect(vectors.length).toBe(37))

  test.each(vectors)("encode and decode give the vector of $text", ({ text, ids, tokens, decoded, decoded_skip }) => {
    const tokenizer = tokenizerOf(name)
    expect(tokenizer.encode(text)).toEqual(ids)
    expect(tokenizer.encode(text, { bos: false })).toEqual(ids.slice(1))
    expect(ids.map((id) => tokenizer.idToToken(id))).toEqual(tokens)
    expect(tokens.map((token) => tokenizer.tokenToId(token))).toEqual(ids)
    expect(tokenizer.decode(ids)).toBe(decoded_skip)
    expect(tokenizer.decode(ids, { skipSpecial: false })).toBe(decoded)
  })
})

test("encode gives transformers.js's Gemma 2 vectors", () => {
  const file = readFixture<Record<string, Record<string, Vector>>>("transformersjs_gemma2_vectors.json")
  const vectors = Object.values(file["Xenova/gemma2-tokenizer"]!)
  expect(vectors.length).toBe(37)
  const tokenizer = tokenizerOf("gemma2")
  for (const { text, ids, decoded } of vectors) {
    expect(tokenizer.encode(text), text).toEqual(ids)
    expect(tokenizer.decode(ids, { skipSpecial: false })).toBe(decoded)
  }
})

test("encode gives the Gemma 3 vectors of independent implementations", () => {
  const vectors = readFixture<(Vector & { add_special_tokens: boolean })[]>("gemma3_independent_vectors.json")
  expect(vectors.length).toBe(25)
  for (const { text, ids, add_special_tokens } of vectors) {
    expect(tokenizerOf("gemma3").encode(text, { bos: add_special_tokens, special: true }), text).toEqual(ids)
  }
})

test("encode gives llama.cpp's Gemma vectors", () => {
  const vectors = readFixture<{ text: string; gemma3_ids: number[] }[]>("llamacpp_gemma4_inp_out.json")
  expect(vectors.length).toBe(46)
  for (const { text, gemma3_ids } of vectors) {
    expect(tokenizerOf("gemma3").encode(text, { bos: false }), text).toEqual(gemma3_ids)
  }
})

test("encode gives llama.cpp's SentencePiece vectors", () => {
  const vectors = readFixture<Vector[]>("llama_spm_vectors.json")
  expect(vectors.length).toBe(47)
  for (const { text, ids } of vectors) {
    expect(tokenizerOf("llama").encode(text, { bos: false }), text).toEqual(ids)
    expect(tokenizerOf("llama").decode(ids), text).toBe(text)
  }
})

test("encode and decode give the goldens of stories260K", () => {
  const path = new URL("../fixtures/stories260K/golden.json", import.meta.url)
  const golden = JSON.parse(readFileSync(path, "utf8"))
  const tokenizer = tokenizerOf("stories260K")
  expect(tokenizer.encode(tokenizer.decode(golden.prompt_ids))).toEqual(golden.prompt_ids)
  expect(tokenizer.decode(golden.greedy_ids_from_bos)).toBe(golden.greedy_text)
})

test("encode, decode and chat give the prompts and texts of storyteller", () => {
  const path = new URL("../fixtures/storyteller/golden.json", import.meta.url)
  const { prompts, greedy } = JSON.parse(readFileSync(path, "utf8"))
  const tokenizer = tokenizerOf("storyteller")
  expect(tokenizer.encode("Once upon a time")).toEqual(prompts[0].ids)
  for (const { ids } of prompts) {
    const text = tokenizer.decode(ids, { skipSpecial: false })
    expect(tokenizer.encode(text, { special: true })).toEqual(ids)
  }
  const turn = tokenizer.decode(prompts[2].ids).match(/^user\n(.*)\nmodel\n$/s)![1]!
  expect(tokenizer.chat([{ role: "user", content: turn }]).ids).toEqual(prompts[2].ids)
  for (const { new_tokens, eos_at, text_until_eos } of greedy) {
    expect(tokenizer.decode(new_tokens.slice(0, eos_at))).toBe(text_until_eos)
  }
})

describe.each(names)("%s", (name) => {
  test("decode gives back what encode took", () => {
    const tokenizer = tokenizerOf(name)
    // A space and its stand-in "▁" are one to these tokenizers.
    for (const text of [...texts, ...vectorTexts()]) {
      expect(tokenizer.decode(tokenizer.encode(text)), text).toBe(text.replaceAll("▁", " "))
    }
  })

  test("encode gives what the library gives without our cuts between merges", () => {
    const tokenizer = tokenizerOf(name)
    const library = new LibraryTokenizer(files[name]().tokenizerJson, {})
    const random = randomFrom(1)
    const all = [...texts, ...vectorTexts().filter((text) => !/<(start|end)_of_turn>/.test(text))]
    const characters = [...new Set(all.join(""))]
    const mixed = Array.from({ length: 300 }, () =>
      Array.from({ length: 40 }, () => characters[Math.floor(random() ** 2 * characters.length)]).join(""),
    )
    for (const text of [...all, ...mixed]) {
      expect(tokenizer.encode(text, { bos: false }), text).toEqual(
        library.encode(text, { add_special_tokens: false }).ids,
      )
    }
  })

  test("encode begins with exactly one BOS, or none if asked", () => {
    const tokenizer = tokenizerOf(name)
    const bos = tokenizer.bos!
    const written = tokenizer.idToToken(bos)!
    for (const text of ["", "Hello", `${written}Hello`, `${written}${written}Hello`]) {
      for (const special of [false, true]) {
        const ids = tokenizer.encode(text, { special })
        expect([ids[0], ids.filter((id) => id === bos).length], text).toEqual([bos, 1])
      }
      expect(tokenizer.encode(text, { bos: false })).not.toContain(bos)
    }
    expect(tokenizer.encode(`${written}Hello`, { special: true })).toEqual(tokenizer.encode("Hello"))
  })

  test("encode never reads a control token in a text", () => {
    const tokenizer = tokenizerOf(name)
    for (let id = 0; id < tokenizer.vocabSize; id++) {
      if (!tokenizer.isSpecial(id)) continue
      const token = tokenizer.idToToken(id)!
      const text = `a${token}b ${token}\n${token}`
      const ids = tokenizer.encode(text, { bos: false })
      expect(ids.filter((id) => tokenizer.isSpecial(id))).toEqual([])
      expect(tokenizer.decode(ids)).toBe(text)
      expect(tokenizer.encode(token, { special: true, bos: false })).toEqual([id])
    }
  })

  test("encode reads half a surrogate pair as U+FFFD", () => {
    const tokenizer = tokenizerOf(name)
    expect(tokenizer.encode("a\ud83d b\ude00")).toEqual(tokenizer.encode("a\ufffd b\ufffd"))
  })

  test("encode and decode take time in proportion to the text", () => {
    const tokenizer = tokenizerOf(name)
    const time = (text: string) => {
      const start = performance.now()
      expect(tokenizer.decode(tokenizer.encode(text)).length).toBe(text.length)
      return performance.now() - start
    }
    time("warm up ".repeat(1000))
    // A quadratic algorithm would take much longer.
    for (const word of ["a", "The cat sat. ", "生活", "\n", " "])
      expect(time(word.repeat(2 ** 16 / word.length))).toBeLessThan(5000)
  })
})

test("Tokenizer knows its special ids and its size", () => {
  const of = ({ bos, eos, pad, vocabSize }: ReturnType<typeof tokenizerOf>) => ({ bos, eos, pad, vocabSize })
  expect(of(tokenizerOf("gemma3"))).toEqual({ bos: 2, eos: 106, pad: 0, vocabSize: 262145 })
  expect(of(tokenizerOf("gemma2"))).toEqual({ bos: 2, eos: 1, pad: 0, vocabSize: 256000 })
  expect(of(tokenizerOf("llama"))).toEqual({ bos: 1, eos: 2, pad: undefined, vocabSize: 32000 })
  expect(of(tokenizerOf("stories260K"))).toEqual({ bos: 1, eos: 2, pad: undefined, vocabSize: 512 })
  expect(of(tokenizerOf("storyteller"))).toEqual({ bos: 2, eos: 1, pad: 0, vocabSize: 4096 })
  expect(tokenizerOf("gemma3").tokenToId("no such token")).toBeUndefined()
  expect(tokenizerOf("gemma3").idToToken(300_000)).toBeUndefined()
})

test("encode keeps Gemma 3's added tokens that are text", () => {
  const tokenizer = tokenizerOf("gemma3")
  const ids = tokenizer.encode("<b>x</b>\n\n\n<table>", { bos: false })
  expect(ids.map((id) => tokenizer.idToToken(id))).toEqual(["<b>", "x", "</b>", "\n\n\n", "<table>"])
})

test("decode gives nothing for ids without a token and refuses what is no id", () => {
  const tokenizer = tokenizerOf("storyteller")
  expect(tokenizer.decode([])).toBe("")
  expect(tokenizer.decode([2, 513, 100_000])).toBe(tokenizer.decode([513]))
  expect(() => tokenizer.decode([-1])).toThrow(new RangeError("decode: id is -1, expected an integer from 0"))
  expect(() => tokenizer.decode([1.5])).toThrow(RangeError)
})

test("encode refuses what is no text", () => {
  const none = undefined as unknown as string
  expect(() => tokenizerOf("storyteller").encode(none)).toThrow(
    new TypeError("encode: text is missing, expected a string"),
  )
})

describe("createTokenizer", () => {
  test("reads byte-level tokenizers", () => {
    const tokenizer = createTokenizer({
      tokenizerJson: byteLevelJson,
      tokenizerConfig: { eos_token: "<|end of turn|>" },
    })
    const ids = tokenizer.encode("Hello world!\n😀é")
    expect(tokenizer.idToToken(ids[0]!)).toBe("He")
    expect(tokenizer.decode(ids)).toBe("Hello world!\n😀é")
    expect(tokenizer.decode([...ids, 31], { skipSpecial: false })).toBe("Hello world!\n😀é<|end of turn|>")
    expect([tokenizer.bos, tokenizer.eos]).toEqual([undefined, 31])
  })

  test("puts Metaspace's first space before the whole text and not before each run", () => {
    const { tokenizerJson } = files.storyteller()
    const pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false }
    const tokenizer = createTokenizer({ tokenizerJson: { ...tokenizerJson, normalizer: null, pre_tokenizer } })
    const plain = createTokenizer({ tokenizerJson })
    expect(tokenizer.encode("the cat")).toEqual(plain.encode(" the cat"))
    expect(tokenizer.encode(" the cat")).toEqual(plain.encode(" the cat"))
    const [end] = plain.encode("<end_of_turn>", { special: true, bos: false })
    const rest = plain.encode("cat", { bos: false })
    expect(tokenizer.encode("the<end_of_turn>cat", { special: true })).toEqual([...plain.encode(" the"), end, ...rest])
  })

  test("obeys add_bos_token over the post processor, and the post processor where there is none", () => {
    const { tokenizerJson, tokenizerConfig } = files.storyteller()
    const bosOf = (config: object) => createTokenizer({ tokenizerJson, tokenizerConfig: config }).encode("a")[0] === 2
    expect(bosOf({ ...tokenizerConfig, add_bos_token: false })).toBe(false)
    expect(bosOf({})).toBe(true)
    const without = { ...tokenizerJson, post_processor: null }
    const config = { bos_token: { content: "<bos>" } }
    expect(createTokenizer({ tokenizerJson: without, tokenizerConfig: config }).encode("a")).toHaveLength(1)
    expect(
      createTokenizer({ tokenizerJson: without, tokenizerConfig: { ...config, add_bos_token: true } }).encode("a")[0],
    ).toBe(2)
  })

  test("takes turn markers for control tokens where no flag says so", () => {
    const { tokenizerJson } = files.storyteller()
    const added_tokens = tokenizerJson.added_tokens.map((token: object) => ({ ...token, special: false }))
    const tokenizer = createTokenizer({ tokenizerJson: { ...tokenizerJson, added_tokens } })
    expect(tokenizer.encode("<end_of_turn>", { bos: false }).length).toBeGreaterThan(1)
  })

  test("lets a control token take the spaces beside it if it is marked so", () => {
    const { tokenizerJson } = files.storyteller()
    const wide = { id: 4096, content: "<wide>", special: true, lstrip: true, rstrip: true }
    const added_tokens = [...tokenizerJson.added_tokens, wide]
    const tokenizer = createTokenizer({ tokenizerJson: { ...tokenizerJson, added_tokens } })
    const encode = (text: string) => tokenizer.encode(text, { special: true })
    expect(encode("a  <wide>\n b")).toEqual(encode("a<wide>b"))
    expect(tokenizer.decode(tokenizer.encode("a <wide> b"))).toBe("a <wide> b")
    expect(tokenizer.vocabSize).toBe(4097)
  })

  test("leaves the objects it reads as they are", () => {
    const { tokenizerJson, tokenizerConfig } = files.stories260K()
    const before = JSON.stringify([tokenizerJson, tokenizerConfig])
    createTokenizer({ tokenizerJson, tokenizerConfig }).encode("a")
    expect(JSON.stringify([tokenizerJson, tokenizerConfig])).toBe(before)
  })

  const good = files.stories260K().tokenizerJson
  const model = good.model
  test.each([
    [null, "tokenizer.json: the file is null, expected an object"],
    [[], "tokenizer.json: the file is an array, expected an object"],
    [{}, "tokenizer.json: model is missing, expected an object"],
    [{ ...good, model: {} }, 'tokenizer.json: model.type is missing, expected "BPE"'],
    [{ ...good, model: { ...model, type: "Unigram" } }, 'tokenizer.json: model.type is "Unigram", expected "BPE"'],
    [
      { ...good, model: { ...model, vocab: [] } },
      "tokenizer.json: model.vocab is an array, expected an object of token: id",
    ],
    [
      { ...good, model: { ...model, vocab: { a: "0" } } },
      'tokenizer.json: model.vocab["a"] is "0", expected a token id',
    ],
    [
      { ...good, model: { ...model, vocab: { a: 1e12 } } },
      'tokenizer.json: model.vocab["a"] is 1000000000000, expected a token id',
    ],
    [{ ...good, model: { ...model, merges: undefined } }, "tokenizer.json: model.merges is missing, expected an array"],
    [
      { ...good, model: { ...model, merges: [["a", "b"], "ab"] } },
      'tokenizer.json: model.merges[1] is "ab", expected a pair of tokens',
    ],
    [{ ...good, added_tokens: {} }, "tokenizer.json: added_tokens is an object, expected an array"],
    [{ ...good, added_tokens: [{ id: 3 }] }, "tokenizer.json: added_tokens[0].content is missing, expected a token"],
    [{ ...good, decoder: null }, "tokenizer.json: decoder is null, expected an object with a type"],
    [
      { ...good, decoder: { type: "CTC" } },
      "tokenizer.json: decoder is CTC, expected Replace, ByteFallback, Fuse, Strip of leading spaces, ByteLevel or Metaspace",
    ],
    [{ ...good, normalizer: "NFC" }, 'tokenizer.json: normalizer is "NFC", expected an object with a type'],
    [
      { ...good, normalizer: { type: "Replace", content: "" } },
      "tokenizer.json: normalizer.pattern is missing, expected { String } or { Regex }",
    ],
    [
      { ...good, pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Split" }] } },
      "tokenizer.json: pre_tokenizer.pretokenizers[0].pattern is missing, expected { String } or { Regex }",
    ],
    [
      { ...good, normalizer: { type: "Nmt" } },
      "tokenizer.json: the tokenizer cannot be built (Unknown Normalizer type: Nmt)",
    ],
  ])("says what is wrong, case %#", (tokenizerJson, message) => {
    expect(() => createTokenizer({ tokenizerJson })).toThrow(message)
  })

  test("says what is wrong with tokenizer_config.json", () => {
    const make = (tokenizerConfig: unknown) => () => createTokenizer({ tokenizerJson: good, tokenizerConfig })
    expect(make([])).toThrow("tokenizer_config.json: the file is an array, expected an object")
    expect(make({ bos_token: 1 })).toThrow("tokenizer_config.json: bos_token is 1, expected a token")
    expect(make({ eos_token: "<x>" })).toThrow(
      'tokenizer_config.json: eos_token is "<x>", expected a token of tokenizer.json',
    )
    expect(make({ chat_template: 3 })).toThrow(
      'tokenizer_config.json: chat_template is 3, expected a template or a list with a "default" one',
    )
  })

  test("survives 2,000 random mutations: it works or says which file is wrong", () => {
    const random = randomFrom(7)
    const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)]!
    const junk = [null, undefined, 0, -1, 1.5, 1e12, "", "x", [], {}, true, [[]], [null], { type: "Sequence" }]
    // biome-ignore lint/suspicious/noExplicitAny: a walk through JSON of any shape
    const mutate = (node: any): void => {
      const keys = Object.keys(node)
      if (keys.length === 0) return
      const key = pick(keys)
      if (typeof node[key] === "object" && node[key] !== null && random() < 0.75) mutate(node[key])
      else if (random() < 0.2 && !Array.isArray(node)) delete node[key]
      else node[key] = pick(junk)
    }
    let refused = 0
    for (let i = 0; i < 2000; i++) {
      const damaged = structuredClone({ tokenizerJson: good, tokenizerConfig: files.stories260K().tokenizerConfig })
      for (let n = 0; n < 1 + (i % 3); n++) mutate(damaged)
      try {
        const tokenizer = createTokenizer(damaged)
        tokenizer.decode(tokenizer.encode("Once <s>upon</s> a time 😀", { special: true }))
      } catch (error) {
        refused++
        expect(error).toSatisfy((e) => e instanceof SyntaxError || e instanceof TypeError || e instanceof RangeError)
        expect((error as Error).message).toMatch(/^tokenizer(_config)?\.json: /)
      }
    }
    expect(refused).toBeGreaterThan(500)
  })
})
