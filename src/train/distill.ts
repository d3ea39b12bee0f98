import { type DistillOptions, divergenceOf } from "../kernels/distill_options.ts"
import type { Over } from "../kernels/distill_sparse.ts"
import { MAX_TOP_K } from "../kernels/top_k.ts"
import type { Model } from "../model/model.ts"
import { internals, LanguageModel } from "../session.ts"
import { batchesOf } from "./batch_source.ts"
import { CacheBatches } from "./cache_batches.ts"
import { cachedObjective, type Divergence, liveObjective, type Support } from "./distill_objective.ts"
import type { DataRecord, Dataset } from "./records.ts"
import type { RunObjective } from "./run_plan.ts"
import { type TeacherCache, tokenizerFingerprint } from "./teacher_cache.ts"
import { Tuning } from "./tune.ts"
import { resolveOptions, type TuneOptions } from "./tune_options.ts"

/** What a student is held to. P is the teacher's distribution of the next token, Q the student's, both at the temperature. */
export interface DistillTuneOptions {
  /**
   * - `forward_kl`, the default: KL(P || Q), which wants Q wherever P is;
   * - `reverse_kl`: KL(Q || P), which wants Q nowhere else;
   * - `jsd`: beta KL(P || M) + (1 - beta) KL(Q || M) with M = beta P + (1 - beta) Q (arXiv:2306.13649).
   */
  readonly kind?: DistillOptions["kind"]
  /** Of `jsd`; 0.5 by default. */
  readonly beta?: number
  /** What both sides' logits are divided by; 1 by default, and that of a teacher cache is its own. */
  readonly temperature?: number
  /** The loss is `(1 - mix) * cross-entropy + mix * divergence`; 1 by default. */
  readonly mix?: number
  /** Multiply the divergence by the square of the temperature (arXiv:1503.02531, section 2); true by default. */
  readonly hinton?: boolean
  /** Compare but so many of the likeliest tokens, at most 256. All by default; a teacher cache has its own. */
  readonly topK?: number
  /** By whom these are the likeliest; `teacher` by default. */
  readonly support?: "teacher" | "student"
  /**
   * With a part of the tokens, what is compared: the teacher renormalised over them with the student over all (`full`), both
   * renormalised (`support`), or both with one bucket for all other tokens (`tail`). `full` is for `forward_kl`, and then the
   * default; otherwise that is `tail`, or `support` with a cache of counts, which know of no other tokens.
   */
  readonly over?: Over
  /** Loads the teacher again beside a student that `reopen` loaded. */
  readonly reopenTeacher?: (student: LanguageModel) => Promise<LanguageModel>
}

export type DistillRunOptions = TuneOptions & DistillTuneOptions

const KINDS = ["forward_kl", "reverse_kl", "jsd"] as const
const SUPPORTS = ["teacher", "student"] as const
const OVERS = ["full", "support", "tail"] as const

/**
 * Trains a model, or an adapter on it, to say what a teacher says. Held-out rows are measured by plain cross-entropy, as with
 * `tune`, so that runs compare.
 *
 * @param teacher a model on the same GPU device (`load` it `beside` the student, or the student beside it), as it is with the
 *                adapters that are on; or what one thought of some data, kept by `teach`, whose rows are then what is learnt
 * @throws {RangeError} for options that cannot be, or a teacher with other tokens; TypeError for one on another device
 */
export function distill(
  student: LanguageModel,
  teacher: LanguageModel,
  data: Dataset | readonly DataRecord[],
  options?: DistillRunOptions,
): Tuning
export function distill(student: LanguageModel, teacher: TeacherCache, options?: DistillRunOptions): Tuning
export function distill(
  student: LanguageModel,
  teacher: LanguageModel | TeacherCache,
  ...rest: readonly unknown[]
): Tuning {
  if (!(teacher instanceof LanguageModel)) return fromCache(student, teacher, rest[0] as DistillRunOptions)
  return fromModel(student, teacher, rest[0] as Dataset | readonly DataRecord[], rest[1] as DistillRunOptions)
}

function fromModel(
  student: LanguageModel,
  teacher: LanguageModel,
  data: Dataset | readonly DataRecord[],
  options: DistillRunOptions = {},
): Tuning {
  if (teacher === student) {
    throw new RangeError(`${teacher.name}: teacher is the student, expected another model (load it once more beside)`)
  }
  const { vocabSize } = teacher.config
  const tokenizer = teacher.tokenizer && tokenizerFingerprint(teacher.tokenizer)
  expectSameTokens(student, teacher.name, vocabSize, tokenizer)
  const divergence = divergenceFor(options, options.temperature)
  const support = supportFor(options, divergence, vocabSize)
  const { context } = resolveOptions(options, student.config.maxPositions).settings
  const { maxPositions } = teacher.config
  if (context > maxPositions) {
    throw new RangeError(`context: is ${context}, expected at most the ${maxPositions} positions of ${teacher.name}`)
  }
  expectSameDevice(internals(student).model, internals(teacher).model, teacher.name)
  let current = teacher
  const objective: RunObjective = {
    settings: { ...divergence, ...support, teacher: teacher.config },
    create(model, tokens) {
      const other = internals(current).model
      expectSameDevice(model, other, current.name)
      return liveObjective(model, other, divergence, support, tokens)
    },
  }
  const { reopen, reopenTeacher, memoryLimit } = options
  if (reopen && !reopenTeacher) {
    throw new TypeError("reopenTeacher: is missing, expected it with reopen: a lost device takes the teacher along")
  }
  const reopenBoth = async () => {
    await current.dispose()
    const lm = await reopen!()
    current = await reopenTeacher!(lm)
    return lm
  }
  return new Tuning(
    student,
    batchesOf(student, data, options),
    {
      ...options,
      ...(reopen ? { reopen: reopenBoth } : {}),
      // The teacher's memory is on another account, and on the same GPU.
      ...(memoryLimit === undefined ? {} : { memoryLimit: Math.max(0, memoryLimit - teacher.memory.total) }),
    },
    objective,
  )
}

function fromCache(student: LanguageModel, cache: TeacherCache, options: DistillRunOptions = {}): Tuning {
  const { context, packing, temperature, vocabSize, tokenizer, mode } = cache.info
  expectSameTokens(student, cache.name, vocabSize, tokenizer)
  const fixed = { context, packing, temperature }
  for (const key of ["context", "packing", "temperature"] as const) {
    const given = options[key]
    if (given !== undefined && given !== fixed[key]) {
      throw new RangeError(`${key}: is ${given}, expected ${fixed[key]} as in ${cache.name}`)
    }
  }
  for (const key of ["topK", "support", "heldOut", "heldOutFrom", "skipBad"] as const) {
    if (options[key] === undefined) continue
    throw new RangeError(`${key}: is given with a teacher cache, expected none: ${cache.name} has its own`)
  }
  const divergence = divergenceFor(options, temperature)
  const over = overFor(options, divergence, mode === "count" ? "support" : "tail")
  if (over === "tail" && mode === "count") {
    throw new RangeError(`over: is tail with counts, expected full or support: ${cache.name} knows of no other tokens`)
  }
  const own: TuneOptions = { ...options, context, packing }
  const { batch, seed, shuffle } = resolveOptions(own, student.config.maxPositions).settings
  const objective: RunObjective = {
    settings: { ...divergence, over, cache: cache.fingerprint },
    create: (model, tokens) => cachedObjective(model, cache.info, divergence, over, tokens),
  }
  return new Tuning(student, new CacheBatches(cache, { rows: batch, seed, shuffle }), own, objective)
}

/** Ids must mean the same to both. */
function expectSameTokens(
  student: LanguageModel,
  teacher: string,
  vocabSize: number,
  tokenizer: string | undefined,
): void {
  const own = student.config.vocabSize
  if (vocabSize !== own) {
    throw new RangeError(`${teacher}: teacher has ${vocabSize} tokens, expected ${own} as ${student.name} has`)
  }
  if (!student.tokenizer || tokenizer === undefined || tokenizerFingerprint(student.tokenizer) === tokenizer) return
  throw new RangeError(`${teacher}: teacher has another tokenizer, expected that of ${student.name}`)
}

function expectSameDevice(student: Model, teacher: Model, name: string): void {
  if (student.device.gpu === teacher.device.gpu) return
  throw new TypeError(`${name}: teacher is on another device, expected the student's (load it with beside)`)
}

function divergenceFor(options: DistillTuneOptions, temperature = 1): Divergence {
  const { kind = "forward_kl", beta = 0.5, mix = 1, hinton = true } = options
  expectOneOf("kind", kind, KINDS)
  const divergence = { kind, beta, temperature, mix, hinton }
  divergenceOf("distill", divergence)
  return divergence
}

function supportFor(options: DistillTuneOptions, divergence: Divergence, vocabSize: number): Support | undefined {
  const { topK, support = "teacher" } = options
  if (topK === undefined) {
    const given = (["support", "over"] as const).find((key) => options[key] !== undefined)
    if (given) throw new RangeError(`${given}: is ${options[given]} without topK, expected topK with it`)
    return undefined
  }
  const most = Math.min(MAX_TOP_K, vocabSize)
  if (!(Number.isInteger(topK) && topK >= 1 && topK <= most)) {
    throw new RangeError(`topK: is ${topK}, expected a whole number from 1 to ${most}`)
  }
  expectOneOf("support", support, SUPPORTS)
  return { topK, support, over: overFor(options, divergence, "tail") }
}

function overFor(options: DistillTuneOptions, divergence: Divergence, otherwise: Over): Over {
  const { kind } = divergenceOf("distill", divergence) // "jsd" at its ends is another
  const { over = kind === "forward_kl" ? "full" : otherwise } = options
  expectOneOf("over", over, OVERS)
  if (over === "full" && kind !== "forward_kl") {
    throw new RangeError(`over: is full with ${kind}, expected support or tail`)
  }
  return over
}

function expectOneOf<T extends string>(name: string, value: T, values: readonly T[]): void {
  if (!values.includes(value)) throw new RangeError(`${name}: is ${value}, expected one of ${values.join(", ")}`)
}
