import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers"
import { ChatTemplate, type Message, readTemplate } from "./chat.ts"
import { ControlTokens, findControlTokens, namedTokens, type Segment } from "./control.ts"
import { cutAtMerges, type PreTokenize } from "./merges.ts"
import { createPieces, type Piece, type Pieces } from "./pieces.ts"
import { TextStream } from "./stream.ts"
import { checkTokenizerJson, isObject, show, stages, type TokenizerJson, type Typed } from "./tokenizer_json.ts"

/** The files of a checkpoint that say how text becomes ids. */
export interface TokenizerFiles {
  /** tokenizer.json, parsed. */
  tokenizerJson: unknown
  /** tokenizer_config.json, parsed. */
  tokenizerConfig?: unknown
  /** The text of chat_template.jinja or chat_template.json, where the template has its own file. */
  chatTemplate?: string
}

export interface EncodeOptions {
  /** Begin with BOS, exactly once, if the checkpoint's texts do. Default true. */
  bos?: boolean
  /** Read control tokens (`<end_of_turn>`) in the text as such; else they are text like any other. Default false. */
  special?: boolean
}

export interface ChatOptions {
  /** End with the beginning of the model's turn. Default true. */
  addGenerationPrompt?: boolean
  /** Put before the messages as a turn of role `system`. */
  system?: string
}

/** What we use of the library's tokenizer; its own declarations do not resolve under NodeNext. */
interface Encoder {
  model: { tokens_to_ids: Map<string, number> }
  pre_tokenizer: PreTokenize | null
  encode(text: string, options?: { add_special_tokens: boolean }): { ids: number[] }
  token_to_id(token: string): number | undefined
}

/** Reads a checkpoint's tokenizer. Throws a SyntaxError or TypeError that names the file and what is wrong with it. */
export function createTokenizer({ tokenizerJson, tokenizerConfig, chatTemplate }: TokenizerFiles): Tokenizer {
  const json = checkTokenizerJson(tokenizerJson)
  const config = tokenizerConfig ?? {}
  if (!isObject(config)) throw new SyntaxError(`tokenizer_config.json: the file is ${show(config)}, expected an object`)
  return new Tokenizer(json, config, readTemplate(chatTemplate, config))
}

/** Text to ids and back, as the checkpoint's reference does it. Made by `createTokenizer`. */
export class Tokenizer {
  readonly bos: number | undefined
  readonly eos: number | undefined
  readonly pad: number | undefined
  /** One more than the largest id. */
  readonly vocabSize: number
  /** How many spaces the decoder drops at the very start of a text. */
  readonly stripStart: number
  #encoder: Encoder
  #control: ControlTokens
  #tokens: readonly (string | undefined)[]
  #pieces: Pieces
  #named: Record<string, string>
  #addsBos: boolean
  #metaspaceFirst: boolean
  #template: ChatTemplate | undefined

  constructor(json: TokenizerJson, config: Record<string, unknown>, template: string | undefined) {
    this.#named = namedTokens(config)
    this.#control = new ControlTokens(findControlTokens(json, config, template))
    this.#tokens = tokensById(json)
    this.vocabSize = this.#tokens.length
    this.#pieces = createPieces(json.decoder)
    this.stripStart = this.#pieces.stripStart
    this.#encoder = createEncoder(json, this.#control)
    this.#metaspaceFirst = stages(json.pre_tokenizer).some(isMetaspaceFirst)
    this.#template = template === undefined ? undefined : new ChatTemplate(template)

    const processorBos = this.#templateBos(json.post_processor)
    this.bos =
      this.#named.bos_token === undefined ? (processorBos ?? this.#find("<bos>", "<s>")) : this.#id("bos_token")
    this.eos = this.#named.eos_token === undefined ? this.#find("<eos>", "</s>") : this.#id("eos_token")
    this.pad = this.#named.pad_token === undefined ? this.#find("<pad>") : this.#id("pad_token")
    const { add_bos_token } = config
    this.#addsBos = typeof add_bos_token === "boolean" ? add_bos_token : processorBos !== undefined
    if (this.#addsBos && this.bos === undefined) {
      throw new SyntaxError("tokenizer_config.json: bos_token is missing, expected one because add_bos_token is true")
    }
  }

  /** The ids of a text. What a user typed is never read as a control token unless `special` says so. */
  encode(text: string, { bos = true, special = false }: EncodeOptions = {}): number[] {
    if (typeof text !== "string") throw new TypeError(`encode: text is ${show(text)}, expected a string`)
    const ids = this.#encodeSegments(special ? this.#control.split(text) : [{ text }])
    return bos ? this.#withOneBos(ids) : ids
  }

  /** The text of ids, by default without control tokens. Ids that stand for no token give nothing. */
  decode(ids: Iterable<number>, { skipSpecial = true }: { skipSpecial?: boolean } = {}): string {
    const stream = new TextStream(this, { skipSpecial })
    return stream.push(ids) + stream.flush()
  }

  /** Renders a conversation by the checkpoint's own template. Messages cannot write control tokens. */
  chat(
    messages: readonly Message[],
    { addGenerationPrompt = true, system }: ChatOptions = {},
  ): { text: string; ids: number[] } {
    if (this.#template === undefined) {
      throw new TypeError(
        "chat: the chat template is missing, expected chat_template in tokenizer_config.json or a chat_template.jinja",
      )
    }
    const turns = system === undefined ? messages : [{ role: "system", content: system }, ...messages]
    if (!Array.isArray(turns)) throw new TypeError(`chat: messages is ${show(messages)}, expected an array`)
    if (turns.length === 0) throw new RangeError("chat: messages is empty, expected at least one")
    const variables = { ...this.#named, ...this.#bosAndEosText(), add_generation_prompt: addGenerationPrompt }
    const { text, restore } = this.#template.render(turns, this.#control.idOf.keys(), variables)
    const segments = this.#control
      .split(text)
      .map((segment) => ("text" in segment ? { text: restore(segment.text) } : segment))
    return { text: restore(text), ids: this.#withOneBos(this.#encodeSegments(segments)) }
  }

  /** Whether the checkpoint came with a chat template. */
  get hasChatTemplate(): boolean {
    return this.#template !== undefined
  }

  tokenToId(token: string): number | undefined {
    return this.#control.idOf.get(token) ?? this.#encoder.token_to_id(token)
  }

  idToToken(id: number): string | undefined {
    return this.#tokens[id]
  }

  /** Whether the id stands for structure and not for text. */
  isSpecial(id: number): boolean {
    return this.#control.ids.has(id)
  }

  /** What one id adds to a text: characters, or bytes that may be part of one. */
  piece(id: number, skipSpecial: boolean): Piece | undefined {
    if (!Number.isInteger(id) || id < 0) throw new RangeError(`decode: id is ${show(id)}, expected an integer from 0`)
    const token = this.#tokens[id]
    if (token === undefined || (skipSpecial && this.#control.ids.has(id))) return undefined
    return this.#pieces.of(token)
  }

  #encodeSegments(segments: readonly Segment[]): number[] {
    const ids: number[] = []
    for (const [i, segment] of segments.entries()) {
      if ("id" in segment) {
        ids.push(segment.id)
        continue
      }
      const text = this.#metaspaceFirst && i === 0 ? beginWithSpace(segment.text) : segment.text
      for (const id of this.#encoder.encode(wellFormed(text), { add_special_tokens: false }).ids) ids.push(id)
    }
    return ids
  }

  #withOneBos(ids: number[]): number[] {
    if (!this.#addsBos) return ids
    let leading = 0
    while (ids[leading] === this.bos) leading++
    if (leading === 0) return [this.bos!, ...ids]
    return leading === 1 ? ids : ids.slice(leading - 1)
  }

  #bosAndEosText(): Record<string, string> {
    const text = (id: number | undefined) => (id === undefined ? "" : (this.idToToken(id) ?? ""))
    return { bos_token: text(this.bos), eos_token: text(this.eos), pad_token: text(this.pad) }
  }

  /** The id of a token that tokenizer_config.json names. */
  #id(key: string): number {
    const token = this.#named[key]!
    const id = this.tokenToId(token)
    if (id !== undefined) return id
    throw new SyntaxError(`tokenizer_config.json: ${key} is ${show(token)}, expected a token of tokenizer.json`)
  }

  #find(...tokens: string[]): number | undefined {
    return tokens.map((token) => this.#control.idOf.get(token)).find((id) => id !== undefined)
  }

  /** The special token that the post processor puts before a text. */
  #templateBos(processor: Typed | null): number | undefined {
    for (const { type, single } of stages(processor)) {
      if (type !== "TemplateProcessing" || !Array.isArray(single) || !isObject(single[0])) continue
      const { SpecialToken } = single[0]
      if (isObject(SpecialToken) && typeof SpecialToken.id === "string") return this.tokenToId(SpecialToken.id)
    }
    return undefined
  }
}

/**
 * The library's tokenizer without the parts we do ourselves: BOS, control tokens and decoding. Control tokens leave its
 * vocabulary altogether, so that no path through it, a merge for example, can give one of their ids.
 */
function createEncoder(json: TokenizerJson, control: ControlTokens): Encoder {
  const { model } = json
  try {
    const encoder: Encoder = new LibraryTokenizer(
      {
        model,
        added_tokens: json.added_tokens.filter(({ content }) => !control.idOf.has(content)),
        normalizer: json.normalizer,
        pre_tokenizer: withoutMetaspaceFirst(json.pre_tokenizer),
        post_processor: null,
        decoder: null,
      },
      {},
    )
    for (const content of control.idOf.keys()) {
      if (content !== model.unk_token) encoder.model.tokens_to_ids.delete(content)
    }
    if (!model.ignore_merges && !model.affixed) {
      encoder.pre_tokenizer = cutAtMerges(encoder.pre_tokenizer, model.merges)
    }
    encoder.encode("a b\n")
    return encoder
  } catch (error) {
    // A TypeError here is the library's stumbling over a stage, and its text says nothing about the file.
    const reason = error instanceof Error && !(error instanceof TypeError) ? error.message : "a stage has a wrong shape"
    throw new SyntaxError(`tokenizer.json: the tokenizer cannot be built (${reason})`, { cause: error })
  }
}

function tokensById(json: TokenizerJson): (string | undefined)[] {
  let size = 0
  for (const token in json.model.vocab) size = Math.max(size, json.model.vocab[token]! + 1)
  for (const { id } of json.added_tokens) size = Math.max(size, id + 1)
  const tokens = new Array<string | undefined>(size).fill(undefined)
  for (const token in json.model.vocab) tokens[json.model.vocab[token]!] = token
  for (const { id, content } of json.added_tokens) tokens[id] = content
  return tokens
}

const isMetaspaceFirst = ({ type, prepend_scheme }: Typed) => type === "Metaspace" && prepend_scheme === "first"

/** "first" means first in the whole text, which the library cannot know when it gets a text in segments: we do it. */
function withoutMetaspaceFirst(stage: Typed | null): Typed | null {
  if (stage === null) return null
  if (isMetaspaceFirst(stage)) return { ...stage, prepend_scheme: "never" }
  if (stage.type !== "Sequence") return stage
  return { ...stage, pretokenizers: (stage.pretokenizers as Typed[]).map(withoutMetaspaceFirst) }
}

function beginWithSpace(text: string): string {
  return /^[ ▁]/.test(text) || text === "" ? text : ` ${text}`
}

/** Half of a surrogate pair is no character: U+FFFD, as in every UTF-8 encoder. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\ufffd")
}
