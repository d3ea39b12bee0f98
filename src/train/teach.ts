import { MAX_TOP_K } from "../kernels/top_k.ts"
import { DTYPE_BYTES, type SafetensorsEntry, writeSafetensors } from "../model/safetensors.ts"
import type { Store } from "../model/store.ts"
import { internals, type LanguageModel } from "../session.ts"
import { type BatchSource, batchesOf } from "./batch_source.ts"
import type { BatchState } from "./batch_state.ts"
import type { Row } from "./packing.ts"
import type { DataRecord, Dataset } from "./records.ts"
import { writeInSteps } from "./stepwise_write.ts"
import {
  cacheMetadata,
  columnsOf,
  encodeProbs,
  groupsOf,
  groupTensors,
  TEACH_MODES,
  type TeacherCacheInfo,
  type TeachMode,
  tokenizerFingerprint,
} from "./teacher_cache.ts"
import { TeacherTargets } from "./teacher_targets.ts"
import { resolveOptions, type TuneOptions } from "./tune_options.ts"

/** The file that `teach` writes unless told otherwise. */
export const TEACHER_FILE = "teacher.safetensors"

/** What is written of a teacher. Data options are those of `tune`. */
export interface TeachOptions
  extends Pick<TuneOptions, "context" | "packing" | "shuffle" | "seed" | "heldOut" | "heldOutFrom" | "skipBad"> {
  /** Where the file goes: whole or not at all. */
  readonly store: Store
  /** `teacher.safetensors` by default */
  readonly file?: string
  /** `topk` by default */
  readonly mode?: TeachMode
  /** Tokens to keep of each distribution: 64 of the likeliest, 256 draws by default. */
  readonly k?: number
  /** What logits are divided by; 1 by default. A student learns at the same. */
  readonly temperature?: number
  /** Rows that go through the teacher at once; 4 by default. */
  readonly rowsAtOnce?: number
  /** Ends after what is under way; no file is left. */
  readonly signal?: AbortSignal
}

/** How far the file is. */
export interface TeachStep {
  readonly rows: number
  /** Rows in all. */
  readonly of: number
  /** Rows to measure by: they need no teacher. */
  readonly heldOutRows: number
  /** Tokens that went through the teacher. */
  readonly tokens: number
  readonly tokensPerSecond: number
  readonly secondsLeft: number
  /** What the file will have, but for its header. */
  readonly fileBytes: number
  /** GPU bytes held. */
  readonly memory: number
}

/** Probabilities of rows whose tensors lie together: what is kept in memory while their ids are written. */
const GROUP_BYTES = 2 ** 22
const DEFAULT_K = { topk: 64, renorm: 256, count: 256 }
const MOST_DRAWS = 4096

/**
 * Writes what a teacher thinks of some data into one file, once, for any number of students: see `openTeacherCache`. Iterate
 * the result: each step tells how far it is, the first what it will take. To leave the loop leaves no file.
 *
 * @throws {RangeError} for options that cannot be, TypeError without a tokenizer
 */
export function teach(
  teacher: LanguageModel,
  data: Dataset | readonly DataRecord[],
  options: TeachOptions,
): AsyncGenerator<TeachStep, void, undefined> {
  const { context, packing, shuffle, seed, heldOut, heldOutFrom, skipBad } = options
  const source: TuneOptions = { context, packing, shuffle, seed, heldOut, heldOutFrom, skipBad, batch: 1 }
  const settings = resolveOptions(source, teacher.config.maxPositions).settings
  const { mode = "topk", temperature = 1, rowsAtOnce = 4 } = options
  if (!TEACH_MODES.includes(mode)) throw unexpected("mode", mode, `one of ${TEACH_MODES.join(", ")}`)
  const { k = Math.min(DEFAULT_K[mode], teacher.config.vocabSize) } = options
  const most = mode === "topk" ? Math.min(MAX_TOP_K, teacher.config.vocabSize) : MOST_DRAWS
  if (!(Number.isInteger(k) && k >= 1 && k <= most)) throw unexpected("k", k, `a whole number from 1 to ${most}`)
  if (!(temperature > 0 && Number.isFinite(temperature)))
    throw unexpected("temperature", temperature, "a number above 0")
  if (!(Number.isSafeInteger(rowsAtOnce) && rowsAtOnce >= 1)) {
    throw unexpected("rowsAtOnce", rowsAtOnce, "a whole number from 1 on")
  }
  const plan = { mode, k, temperature, rowsAtOnce, context: settings.context, packing: settings.packing }
  return write(teacher, batchesOf(teacher, data, source), { ...plan, seed: settings.seed }, options)
}

interface Plan extends Pick<TeacherCacheInfo, "mode" | "k" | "temperature" | "context" | "packing"> {
  readonly rowsAtOnce: number
  readonly seed: number
}

async function* write(
  teacher: LanguageModel,
  batches: BatchSource,
  plan: Plan,
  { store, file = TEACHER_FILE, signal }: TeachOptions,
): AsyncGenerator<TeachStep, void, undefined> {
  const info = await describe(teacher, batches, plan, signal)
  const lessons = new Lessons(teacher, info, plan)
  try {
    const entries = [...lessons.entries(batches, signal)]
    const fileBytes = entries.reduce((sum, each) => sum + bytesOf(each), 0)
    const began = performance.now()
    const status = (): TeachStep => {
      const { rows, tokens } = lessons
      const seconds = (performance.now() - began) / 1000
      const secondsLeft = rows === 0 ? 0 : (seconds / rows) * (info.rows - rows)
      const tokensPerSecond = tokens === 0 ? 0 : tokens / seconds
      const { rows: of, heldOutRows } = info
      const { total: memory } = teacher.memory
      return { rows, of, heldOutRows, tokens, tokensPerSecond, secondsLeft, fileBytes, memory }
    }
    yield status()
    let told = 0
    for await (const _ of writeInSteps(store, file, writeSafetensors(entries, cacheMetadata(info)))) {
      if (lessons.rows === told || lessons.rows === info.rows) continue
      told = lessons.rows
      yield status()
    }
    yield status() // once the file is there
  } finally {
    lessons.dispose()
  }
}

/** Goes through the data once to count rows: a header comes first, and tokens are cheap beside a teacher. */
async function describe(
  teacher: LanguageModel,
  batches: BatchSource,
  plan: Plan,
  signal: AbortSignal | undefined,
): Promise<TeacherCacheInfo> {
  const start = batches.state() as BatchState
  const rows = await count(epochOf(batches), signal)
  batches.restore(start)
  const { mode, k, temperature, context, packing } = plan
  return {
    teacher: teacher.name,
    vocabSize: teacher.config.vocabSize,
    tokenizer: tokenizerFingerprint(teacher.tokenizer!),
    ...{ mode, k, temperature, context, packing },
    data: `${start.made.data}`,
    rows,
    heldOutRows: await count(batches.heldOutRows(), signal),
    rowsPerGroup: Math.max(1, Math.floor(GROUP_BYTES / (context * k * DTYPE_BYTES.F16))),
  }
}

async function count(rows: AsyncIterable<Row>, signal: AbortSignal | undefined): Promise<number> {
  let count = 0
  for await (const _ of rows) {
    signal?.throwIfAborted()
    count++
  }
  return count
}

/** The rows of one epoch. Batches go on without end, so that one row of the next may have to be asked for. */
async function* epochOf(batches: BatchSource): AsyncGenerator<Row, void, undefined> {
  for (;;) {
    const { rows } = await batches.next()
    const { epoch, epochRows } = batches.state() as BatchState
    if (epoch > 0 && epochRows > 0) return
    yield* rows
    if (epoch > 0) return
  }
}

/** The tensors of a cache, made when they are written. */
class Lessons {
  /** Rows and tokens that went through the teacher so far. */
  rows = 0
  tokens = 0
  readonly #teacher: LanguageModel
  readonly #info: TeacherCacheInfo
  readonly #rowsAtOnce: number
  readonly #targets: TeacherTargets

  constructor(teacher: LanguageModel, info: TeacherCacheInfo, plan: Plan) {
    this.#teacher = teacher
    this.#info = info
    this.#rowsAtOnce = plan.rowsAtOnce
    this.#targets = new TeacherTargets(internals(teacher).model, plan)
  }

  *entries(batches: BatchSource, signal: AbortSignal | undefined): Generator<SafetensorsEntry> {
    const { rows, heldOutRows, rowsPerGroup } = this.#info
    const training = epochOf(batches)
    for (const [group, count] of groupsOf(rows, rowsPerGroup).entries()) {
      yield* this.#group("rows", group, count, training, signal)
    }
    const heldOut = batches.heldOutRows()[Symbol.asyncIterator]()
    for (const [group, count] of groupsOf(heldOutRows, rowsPerGroup).entries()) {
      yield* this.#group("held_out", group, count, heldOut, signal)
    }
  }

  #group(
    part: "rows" | "held_out",
    group: number,
    count: number,
    source: AsyncIterator<Row>,
    signal: AbortSignal | undefined,
  ): SafetensorsEntry[] {
    const { context } = this.#info
    let rows: Row[] = []
    let columns = columnsOf(rows, context)
    const probs: Uint8Array[] = []
    const bytes = {
      tokens: async function* () {
        rows = await take(source, count)
        columns = columnsOf(rows, context)
        yield new Uint8Array(columns.tokens.buffer)
      },
      labels: function* () {
        yield new Uint8Array(columns.labels.buffer)
      },
      starts: function* () {
        yield new Uint8Array(columns.starts.buffer)
      },
      ids: async function* (this: Lessons) {
        for (let at = 0; at < count; at += this.#rowsAtOnce) {
          signal?.throwIfAborted()
          const targets = await this.#ask(rows.slice(at, at + this.#rowsAtOnce))
          probs.push(encodeProbs(targets.probs))
          yield new Uint8Array(targets.ids.buffer)
        }
        rows = []
      }.bind(this),
      probs: function* () {
        for (let each = probs.shift(); each; each = probs.shift()) yield each
      },
    }
    return groupTensors(this.#info, part, group, count).map(({ field, ...tensor }) => {
      return { ...tensor, bytes: bytes[field] }
    })
  }

  async #ask(rows: readonly Row[]) {
    const release = await internals(this.#teacher).acquire()
    try {
      const targets = await this.#targets.of(rows, this.rows)
      this.rows += rows.length
      this.tokens += rows.flat().reduce((sum, { ids }) => sum + ids.length, 0)
      return targets
    } finally {
      release()
    }
  }

  dispose(): void {
    this.#targets.dispose()
  }
}

async function take<T>(source: AsyncIterator<T>, count: number): Promise<T[]> {
  const taken: T[] = []
  while (taken.length < count) {
    const { done, value } = await source.next()
    if (done) throw new RangeError(`teach: data has ${taken.length} rows more, expected ${count} as counted before`)
    taken.push(value)
  }
  return taken
}

function bytesOf({ dtype, shape }: SafetensorsEntry): number {
  return shape.reduce((product, extent) => product * extent, DTYPE_BYTES[dtype])
}

function unexpected(name: string, is: string | number, expected: string): RangeError {
  return new RangeError(`${name}: is ${is}, expected ${expected}`)
}
