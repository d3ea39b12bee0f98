import { encodeF16 } from "../model/dtype.ts"
import { Keys } from "../model/keys.ts"
import { DTYPE_BYTES, type DType, decodeToFloat32, readHeader, type TensorInfo } from "../model/safetensors.ts"
import { parseJson, type Source } from "../model/source.ts"
import type { Tokenizer } from "../tokenizer/tokenizer.ts"
import type { NamedSource } from "./dataset.ts"
import { type Example, hasTarget, NO_LABEL } from "./examples.ts"
import { Fingerprint } from "./fingerprint.ts"
import { PACKINGS, type Packing, type Row } from "./packing.ts"

const KEY = "gemlet_teacher"
const VERSION = 1
const MOST_ROWS = 2 ** 31 - 1

/**
 * What is kept of a teacher's distribution:
 *
 * - `topk`: the likeliest tokens;
 * - `renorm`: tokens drawn from it, each once, with their probabilities (arXiv:2503.19786, section 2.2). Renormalised, they
 *   favour likely tokens;
 * - `count`: tokens drawn from it, each with its share of the draws, which is right on average.
 */
export type TeachMode = "topk" | "renorm" | "count"

export const TEACH_MODES: readonly TeachMode[] = ["topk", "renorm", "count"]

/** What a teacher cache is of. All of it is JSON. */
export interface TeacherCacheInfo {
  /** What the teacher was called. */
  readonly teacher: string
  readonly vocabSize: number
  /** Tells the teacher's tokenizer from others. */
  readonly tokenizer: string
  readonly mode: TeachMode
  /** Tokens kept of each distribution at most: the likeliest, or how many were drawn. */
  readonly k: number
  /** What logits were divided by. */
  readonly temperature: number
  /** Tokens of a row. */
  readonly context: number
  readonly packing: Packing
  /** Tells the data from others. */
  readonly data: string
  readonly rows: number
  readonly heldOutRows: number
  /** Rows whose tensors lie together; the last group may have fewer. */
  readonly rowsPerGroup: number
}

/** A segment with what its teacher thinks of every position that is scored. */
export interface TaughtExample extends Example {
  /** `[t, k]` */
  readonly teacherIds: Uint32Array
  /** `[t, k]`, at the cache's temperature; 0 where a slot is unused, and where nothing is scored */
  readonly teacherProbs: Float32Array
}

type Field = "tokens" | "labels" | "starts" | "ids" | "probs"
type Part = "rows" | "held_out"

/** A tensor of a group of rows. */
export interface GroupTensor {
  readonly field: Field
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
}

/** How many rows each group has. */
export function groupsOf(rows: number, rowsPerGroup: number): number[] {
  const count = Math.ceil(rows / rowsPerGroup)
  return Array.from({ length: count }, (_, g) => Math.min(rowsPerGroup, rows - g * rowsPerGroup))
}

/**
 * The tensors of a group, in the order of the file: `tokens`, `labels` and `starts` `[rows, T]`, the last saying where each
 * position's segment begins, -1 behind the last; and, of rows to learn from, the teacher's `ids` and `probs` `[rows, T, k]`.
 */
export function groupTensors(
  { context: T, k }: Pick<TeacherCacheInfo, "context" | "k">,
  part: Part,
  group: number,
  rows: number,
): GroupTensor[] {
  const tensor = (field: Field, dtype: DType, shape: readonly number[]): GroupTensor => {
    return { field, name: tensorName(part, group, field), dtype, shape }
  }
  const texts = (["tokens", "labels", "starts"] as const).map((field) => tensor(field, "I32", [rows, T]))
  if (part === "held_out") return texts
  return [...texts, tensor("ids", "U32", [rows, T, k]), tensor("probs", "F16", [rows, T, k])]
}

function tensorName(part: Part, group: number, field: Field): string {
  return `${part}.${String(group).padStart(5, "0")}.${field}`
}

export function cacheMetadata(info: TeacherCacheInfo): Record<string, string> {
  return { [KEY]: JSON.stringify({ version: VERSION, ...info }) }
}

/** Tells the tokens of a tokenizer from those of another. */
export function tokenizerFingerprint(tokenizer: Tokenizer): string {
  const tokens = Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.idToToken(id) ?? null)
  return String(new Fingerprint().update(new TextEncoder().encode(JSON.stringify(tokens))))
}

/** Rows as they are kept: `tokens`, `labels` and `starts` of all of them, `[rows, T]` each. */
export function columnsOf(rows: readonly Row[], T: number): Record<"tokens" | "labels" | "starts", Int32Array> {
  const tokens = new Int32Array(rows.length * T)
  const labels = new Int32Array(rows.length * T).fill(NO_LABEL)
  const starts = new Int32Array(rows.length * T).fill(-1)
  for (const [r, row] of rows.entries()) {
    let start = 0
    for (const segment of row) {
      tokens.set(segment.ids, r * T + start)
      labels.set(segment.labels, r * T + start)
      starts.fill(start, r * T + start, r * T + start + segment.ids.length)
      start += segment.ids.length
    }
  }
  return { tokens, labels, starts }
}

/** Probabilities as they are kept. */
export function encodeProbs(probs: Float32Array): Uint8Array {
  return new Uint8Array(encodeF16(probs).buffer)
}

/**
 * Opens a file that `teach` wrote. Its header is checked at once, and a row when it is read: such files are too large to be
 * read through beforehand.
 *
 * @throws {SyntaxError} for a file that is no whole teacher cache, or one of another version
 */
export async function openTeacherCache({ name, source }: NamedSource): Promise<TeacherCache> {
  const { tensors, metadata } = await readHeader(source, name)
  const text = metadata.get(KEY)
  if (text === undefined) throw new SyntaxError(`${name}: ${KEY} is missing, expected a teacher cache`)
  const info = parseInfo(parseJson(text, name), name)
  // First of all how many: a wrong number should not cost the memory of as many names.
  const groups = (rows: number) => Math.ceil(rows / info.rowsPerGroup)
  const count = 5 * groups(info.rows) + 3 * groups(info.heldOutRows)
  if (tensors.size !== count) {
    throw new SyntaxError(`${name}: number of tensors is ${tensors.size}, expected ${count}`)
  }
  const expected = [...tensorsOf(info, "rows"), ...tensorsOf(info, "held_out")]
  for (const { name: tensor, dtype, shape } of expected) {
    const is = tensors.get(tensor)
    const [now, then] = [is && `${is.dtype} [${is.shape.join(", ")}]`, `${dtype} [${shape.join(", ")}]`]
    if (now !== then) throw new SyntaxError(`${name}: ${tensor} is ${now ?? "missing"}, expected ${then}`)
  }
  const fingerprint = String(new Fingerprint().update(new TextEncoder().encode(text)))
  return new TeacherCache({ name, source }, info, tensors, fingerprint)
}

function tensorsOf(info: TeacherCacheInfo, part: Part): GroupTensor[] {
  const rows = part === "rows" ? info.rows : info.heldOutRows
  return groupsOf(rows, info.rowsPerGroup).flatMap((count, group) => groupTensors(info, part, group, count))
}

function parseInfo(json: unknown, name: string): TeacherCacheInfo {
  const keys = new Keys(json, name, `${KEY}.`)
  const version = keys.get("version")
  if (version !== VERSION) throw new SyntaxError(keys.describe("version", `${VERSION}`))
  const text = (key: string): string => {
    const value = keys.get(key)
    if (typeof value !== "string") throw new TypeError(keys.describe(key, "a string"))
    return value
  }
  return {
    teacher: text("teacher"),
    vocabSize: keys.integer("vocabSize", 1, 2 ** 31 - 1),
    tokenizer: text("tokenizer"),
    mode: keys.choice("mode", TEACH_MODES),
    k: keys.integer("k", 1, 2 ** 16),
    temperature: keys.positive("temperature"),
    context: keys.integer("context", 2, 2 ** 31 - 1),
    packing: keys.choice("packing", PACKINGS),
    data: text("data"),
    rows: keys.integer("rows", 1, MOST_ROWS),
    heldOutRows: keys.integer("heldOutRows", 0, MOST_ROWS),
    rowsPerGroup: keys.integer("rowsPerGroup", 1, MOST_ROWS),
  }
}

/** A teacher's thoughts on some data, in a file. Made by `openTeacherCache`. */
export class TeacherCache {
  /** What errors call it. */
  readonly name: string
  readonly info: TeacherCacheInfo
  /** Tells it from other caches. */
  readonly fingerprint: string
  readonly #source: Source
  readonly #tensors: ReadonlyMap<string, TensorInfo>

  constructor(
    { name, source }: NamedSource,
    info: TeacherCacheInfo,
    tensors: ReadonlyMap<string, TensorInfo>,
    fingerprint: string,
  ) {
    this.name = name
    this.info = info
    this.fingerprint = fingerprint
    this.#source = source
    this.#tensors = tensors
  }

  /**
   * A row to learn from, checked.
   *
   * @throws {SyntaxError} naming the file and what is wrong with the row
   */
  async row(index: number): Promise<TaughtExample[]> {
    const [segments, idBytes, probBytes] = await Promise.all([
      this.#segments("rows", index),
      this.#read("rows", index, "ids"),
      this.#read("rows", index, "probs"),
    ])
    const { k } = this.info
    const ids = new Uint32Array(idBytes)
    const probs = decodeToFloat32("F16", new Uint8Array(probBytes))
    let start = 0
    const taught = segments.map((segment) => {
      const [from, to] = [start * k, (start + segment.ids.length) * k]
      start += segment.ids.length
      return { ...segment, teacherIds: ids.subarray(from, to), teacherProbs: probs.subarray(from, to) }
    })
    this.#expectTargets(taught, `row ${index}`)
    return taught
  }

  /** A row to measure by, checked likewise. */
  heldOutRow(index: number): Promise<Example[]> {
    return this.#segments("held_out", index)
  }

  async #segments(part: Part, index: number): Promise<Example[]> {
    const fields = ["tokens", "labels", "starts"] as const
    const [tokens, labels, starts] = await Promise.all(
      fields.map(async (field) => new Int32Array(await this.#read(part, index, field))),
    )
    const row = `${part === "rows" ? "row" : "held-out row"} ${index}`
    const { vocabSize } = this.info
    const segments: { ids: number[]; labels: number[] }[] = []
    let begin = 0
    for (let t = 0; t < starts!.length && starts![t] !== -1; t++) {
      if (starts![t] === t) {
        segments.push({ ids: [], labels: [] })
        begin = t
      } else if (t === 0 || starts![t] !== begin) {
        throw this.#wrong(row, "start", starts![t]!, t === 0 ? "0" : `${begin}, ${t} or -1`)
      }
      const { ids, labels: targets } = segments.at(-1)!
      ids.push(this.#token(row, "token", tokens![t]!, vocabSize))
      targets.push(labels![t] === NO_LABEL ? NO_LABEL : this.#token(row, "label", labels![t]!, vocabSize))
    }
    if (!segments.some(hasTarget)) throw this.#wrong(row, "number of targets", 0, "at least 1")
    return segments
  }

  /** What is not scored is not looked at: it has no say in the loss. */
  #expectTargets(segments: readonly TaughtExample[], row: string): void {
    const { k, vocabSize } = this.info
    const seen = new Map<number, number>()
    let position = 0
    for (const { labels, teacherIds, teacherProbs } of segments) {
      for (let t = 0; t < labels.length; t++, position++) {
        const slots = teacherProbs.subarray(t * k, (t + 1) * k)
        if (t + 1 >= labels.length || labels[t + 1] === NO_LABEL) {
          slots.fill(0)
          teacherIds.fill(0, t * k, (t + 1) * k)
          continue
        }
        let sum = 0
        for (const [i, p] of slots.entries()) {
          const id = this.#token(row, "teacher's id", teacherIds[t * k + i]!, vocabSize)
          if (!(p >= 0 && p <= 1)) throw this.#wrong(row, "probability", p, "0 to 1")
          sum += p
          if (p === 0) continue
          if (seen.get(id) === position) throw this.#wrong(row, "teacher's id", id, `once at position ${position}`)
          seen.set(id, position)
        }
        // Each probability is rounded to 11 bits.
        if (!(sum > 0 && sum < 1.001)) throw this.#wrong(row, "sum of probabilities", sum, "above 0 and at most 1")
      }
    }
  }

  #token(row: string, what: string, id: number, vocabSize: number): number {
    if (id >= 0 && id < vocabSize) return id
    throw this.#wrong(row, what, id, `0 to ${vocabSize - 1}`)
  }

  #wrong(row: string, what: string, is: number, expected: string): SyntaxError {
    return new SyntaxError(`${this.name}: ${what} in ${row} is ${is}, expected ${expected}`)
  }

  async #read(part: Part, index: number, field: Field): Promise<ArrayBuffer> {
    const group = Math.floor(index / this.info.rowsPerGroup)
    const { dtype, shape, start } = this.#tensors.get(tensorName(part, group, field))!
    const bytes = shape.slice(1).reduce((product, extent) => product * extent, DTYPE_BYTES[dtype])
    const at = start + (index % this.info.rowsPerGroup) * bytes
    return this.#source.slice(at, at + bytes)
  }
}
