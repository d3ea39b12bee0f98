/** The parts of tokenizer.json that we use, after their shape has been checked. */
export interface TokenizerJson {
  model: {
    type: "BPE"
    vocab: Record<string, number>
    merges: readonly Merge[]
    unk_token: string | null
    ignore_merges: boolean
    /** Whether pieces carry affixes, which makes a merge depend on where the word ends. */
    affixed: boolean
  }
  added_tokens: readonly AddedToken[]
  normalizer: Typed | null
  pre_tokenizer: Typed | null
  post_processor: Typed | null
  decoder: Typed
}

/** Two neighbours that become one token. */
export type Merge = readonly [left: string, right: string]

export interface AddedToken {
  id: number
  content: string
  special: boolean
  lstrip: boolean
  rstrip: boolean
}

/** A stage of the pipeline: its type's name and whatever that type needs. */
export type Typed = { readonly type: string; readonly [key: string]: unknown }

/** Ids above this are a damaged file, not a vocabulary: an array of that length is allocated. */
const MAX_ID = 2 ** 24

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

/** How an error shows a value of unknown shape. */
export function show(value: unknown): string {
  if (value === undefined) return "missing"
  if (value === null) return "null"
  if (Array.isArray(value)) return "an array"
  if (typeof value === "object") return "an object"
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

function wrong(what: string, value: unknown, expected: string): SyntaxError {
  return new SyntaxError(`tokenizer.json: ${what} is ${show(value)}, expected ${expected}`)
}

/** Checks the parsed tokenizer.json. Throws a SyntaxError for a wrong shape and a TypeError for a kind we do not run. */
export function checkTokenizerJson(json: unknown): TokenizerJson {
  if (!isObject(json)) throw wrong("the file", json, "an object")
  return {
    model: checkModel(json.model),
    added_tokens: checkAddedTokens(json.added_tokens),
    normalizer: checkStage("normalizer", json.normalizer),
    pre_tokenizer: checkStage("pre_tokenizer", json.pre_tokenizer),
    post_processor: checkStage("post_processor", json.post_processor),
    decoder: checkDecoder(json.decoder),
  }
}

function checkModel(model: unknown): TokenizerJson["model"] {
  if (!isObject(model)) throw wrong("model", model, "an object")
  const { vocab, merges } = model
  const type = model.type ?? (isObject(vocab) && Array.isArray(merges) ? "BPE" : undefined)
  if (typeof type !== "string") throw wrong("model.type", type, '"BPE"')
  if (type !== "BPE") throw new TypeError(`tokenizer.json: model.type is ${show(type)}, expected "BPE"`)
  if (!isObject(vocab)) throw wrong("model.vocab", vocab, "an object of token: id")
  for (const token in vocab) {
    if (!isId(vocab[token])) throw wrong(`model.vocab[${JSON.stringify(token)}]`, vocab[token], "a token id")
  }
  if (!Array.isArray(merges)) throw wrong("model.merges", merges, "an array")
  const unk = model.unk_token ?? null
  if (unk !== null && typeof unk !== "string") throw wrong("model.unk_token", unk, "a token")
  const affixed = ["continuing_subword_prefix", "continuing_subword_suffix", "end_of_word_suffix"].some(
    (key) => (model[key] ?? "") !== "",
  )
  return {
    ...model,
    type: "BPE",
    vocab: vocab as Record<string, number>,
    merges: merges.map(checkMerge),
    unk_token: unk,
    ignore_merges: model.ignore_merges === true,
    affixed,
  }
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_ID
}

/** A merge is a pair, or in older files `"left right"`. */
function checkMerge(merge: unknown, i: number): Merge {
  const parts = typeof merge === "string" ? merge.split(" ") : merge
  const isPair = Array.isArray(parts) && parts.length === 2 && parts.every((part) => typeof part === "string")
  if (!isPair) throw wrong(`model.merges[${i}]`, merge, "a pair of tokens")
  return parts as unknown as Merge
}

function checkAddedTokens(tokens: unknown): AddedToken[] {
  if (tokens === undefined || tokens === null) return []
  if (!Array.isArray(tokens)) throw wrong("added_tokens", tokens, "an array")
  return tokens.map((token: unknown, i) => {
    if (!isObject(token)) throw wrong(`added_tokens[${i}]`, token, "an object")
    const { id, content } = token
    if (!isId(id)) throw wrong(`added_tokens[${i}].id`, id, "a token id")
    if (typeof content !== "string" || content === "") throw wrong(`added_tokens[${i}].content`, content, "a token")
    const flag = (name: string) => token[name] === true
    return { ...token, id, content, special: flag("special"), lstrip: flag("lstrip"), rstrip: flag("rstrip") }
  })
}

function checkStage(name: string, stage: unknown): Typed | null {
  if (stage === undefined || stage === null) return null
  return checkTyped(name, stage)
}

function checkDecoder(stage: unknown): Typed {
  if (stage === undefined || stage === null) throw wrong("decoder", stage, "an object with a type")
  return checkTyped("decoder", stage)
}

/** A stage of the pipeline, checked as deep as sequences nest. */
function checkTyped(name: string, stage: unknown): Typed {
  if (!isObject(stage)) throw wrong(name, stage, "an object with a type")
  const { type } = stage
  if (typeof type !== "string") throw wrong(`${name}.type`, type, "a name")
  if (type === "Replace" || type === "Split") checkPattern(`${name}.pattern`, stage.pattern)
  if (type === "Replace" && typeof stage.content !== "string") throw wrong(`${name}.content`, stage.content, "a string")
  if (type === "Prepend" && typeof stage.prepend !== "string") throw wrong(`${name}.prepend`, stage.prepend, "a string")
  if (type === "Sequence") {
    const key = ["normalizers", "pretokenizers", "processors", "decoders"].find((key) => key in stage) ?? "stages"
    const stages = stage[key]
    if (!Array.isArray(stages)) throw wrong(`${name}.${key}`, stages, "an array")
    return { ...stage, type, [key]: stages.map((stage, i) => checkTyped(`${name}.${key}[${i}]`, stage)) }
  }
  return { ...stage, type }
}

function checkPattern(name: string, pattern: unknown): void {
  const body = isObject(pattern) ? (pattern.String ?? pattern.Regex) : undefined
  if (typeof body !== "string") throw wrong(name, pattern, "{ String } or { Regex }")
}

/** The stages of a pipeline in order, sequences opened. */
export function stages(stage: Typed | null): Typed[] {
  if (stage === null) return []
  if (stage.type !== "Sequence") return [stage]
  const key = ["normalizers", "pretokenizers", "processors", "decoders"].find((key) => key in stage)!
  return (stage[key] as Typed[]).flatMap(stages)
}
