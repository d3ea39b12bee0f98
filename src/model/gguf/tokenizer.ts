import { Keys, show } from "../keys.ts"
import type { GgufHeader } from "./header.ts"
import { mergesOf } from "./merges.ts"

/** Kinds of tokens (SentencePiece's, by their code in `tokenizer.ggml.token_type`). */
export const KINDS = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

/** A vocabulary by id, its parts of one length. */
export interface Vocabulary {
  readonly tokens: readonly string[]
  readonly kinds: ArrayLike<number>
  /** The higher, the earlier a token is made. */
  readonly scores: ArrayLike<number>
}

const SPACE = "\u2581"

/**
 * The tokenizer inside a GGUF as a tokenizer.json; undefined where the file has none.
 *
 * @param file what errors call it
 * @throws TypeError for a kind of tokenizer that is not SentencePiece's BPE, SyntaxError for a damaged one
 */
export function ggufTokenizerJson({ metadata }: GgufHeader, file: string): Record<string, unknown> | undefined {
  const keys = new Keys(Object.fromEntries(metadata), file)
  const model = keys.get("tokenizer.ggml.model")
  if (model === undefined || model === "none" || model === "no_vocab") return undefined
  if (model !== "llama") {
    throw new TypeError(
      keys.describe("tokenizer.ggml.model", '"llama" (a tokenizer.json beside the file is read instead)'),
    )
  }
  const vocabulary = vocabularyOf(metadata, file)
  const merges = listOfStrings(metadata, "tokenizer.ggml.merges", file)?.map((merge, i) => parseMerge(merge, i, file))
  const spaceFirst = keys.flag("tokenizer.ggml.add_space_prefix", true)
  const unknown = tokenOf(keys, vocabulary.tokens, "unknown") ?? null
  return tokenizerJson(vocabulary, merges ?? mergesOf(vocabulary), unknown, spaceFirst)
}

/** What a GGUF says of its tokens' roles, as a tokenizer_config.json; undefined where it has no tokens. */
export function ggufTokenizerConfig({ metadata }: GgufHeader, file: string): Record<string, unknown> | undefined {
  const keys = new Keys(Object.fromEntries(metadata), file)
  const tokens = listOfStrings(metadata, "tokenizer.ggml.tokens", file)
  return (
    tokens && {
      bos_token: tokenOf(keys, tokens, "bos"),
      eos_token: tokenOf(keys, tokens, "eos"),
      pad_token: tokenOf(keys, tokens, "padding"),
      unk_token: tokenOf(keys, tokens, "unknown"),
      add_bos_token: keys.flag("tokenizer.ggml.add_bos_token", true),
      chat_template: keys.get("tokenizer.chat_template"),
    }
  )
}

function tokenOf(keys: Keys, tokens: readonly string[], role: string): string | undefined {
  const key = `tokenizer.ggml.${role}_token_id`
  return keys.get(key) === undefined ? undefined : tokens[keys.integer(key, 0, tokens.length - 1)]
}

function vocabularyOf(metadata: GgufHeader["metadata"], file: string): Vocabulary {
  const written = listOfStrings(metadata, "tokenizer.ggml.tokens", file)
  if (!written) throw new SyntaxError(`${file}: tokenizer.ggml.tokens is missing, expected a list of tokens`)
  const numbers = (key: string): ArrayLike<number> => {
    const value = metadata.get(key)
    const length = ArrayBuffer.isView(value) ? value.length : undefined
    if (ArrayBuffer.isView(value) && length === written.length) return value
    const is = length === undefined ? show(value) : `of ${length}`
    throw new SyntaxError(`${file}: ${key} is ${is}, expected a number for each of ${written.length} tokens`)
  }
  const kinds = numbers("tokenizer.ggml.token_type")
  // Conversions write the spaces of user-defined tokens as such.
  const tokens = written.map((text, id) => (kinds[id] === KINDS.userDefined ? text.replaceAll(" ", SPACE) : text))
  return { tokens, kinds, scores: numbers("tokenizer.ggml.scores") }
}

function listOfStrings(metadata: GgufHeader["metadata"], key: string, file: string): readonly string[] | undefined {
  const value = metadata.get(key)
  if (value === undefined || Array.isArray(value)) return value
  throw new SyntaxError(`${file}: ${key} is ${show(value)}, expected a list of strings`)
}

/** `left right`, where the left one may begin with the space. */
function parseMerge(merge: string, i: number, file: string): [string, string] {
  const space = merge.indexOf(" ", 1)
  if (space > 0 && space < merge.length - 1) return [merge.slice(0, space), merge.slice(space + 1)]
  throw new SyntaxError(`${file}: tokenizer.ggml.merges[${i}] is ${show(merge)}, expected two tokens`)
}

/** The stages are those of the tokenizer.json that transformers writes for Gemma; Llama's begins a text with a space. */
function tokenizerJson(
  { tokens, kinds }: Vocabulary,
  merges: readonly (readonly [string, string])[],
  unknown: string | null,
  spaceFirst: boolean,
) {
  const underscored = { type: "Replace", pattern: { String: " " }, content: SPACE }
  const spaced = { type: "Replace", pattern: { String: SPACE }, content: " " }
  const added = tokens.flatMap((content, id) => {
    const kind = kinds[id]
    if (content === "" || (kind !== KINDS.control && kind !== KINDS.unknown && kind !== KINDS.userDefined)) return []
    const special = kind !== KINDS.userDefined
    return [{ id, content, special, single_word: false, lstrip: false, rstrip: false, normalized: false }]
  })
  return {
    version: "1.0",
    added_tokens: added,
    normalizer: spaceFirst
      ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: SPACE }, underscored] }
      : underscored,
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        spaced,
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(spaceFirst ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: "BPE",
      unk_token: unknown,
      fuse_unk: true,
      byte_fallback: tokens.some((_, id) => kinds[id] === KINDS.byte),
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  }
}
