import type { Store } from "../model/store.ts"
import type { LanguageModel } from "../session.ts"
import { type AdapterSettings, expectSettings } from "./adapter_method.ts"
import type { LamdaInit } from "./lamda.ts"
import type { LoraInit } from "./lora_init.ts"
import { adamw, type Optimizer, sgd } from "./optimizer.ts"
import type { Packing } from "./packing.ts"
import type { Dataset } from "./records.ts"
import { SCHEDULES, type ScheduleName } from "./schedule.ts"

/** What to train and how. Everything has a default. */
export interface TuneOptions extends MethodOptions, StepOptions, OptimizerOptions, DataOptions, RunOptions {}

/** What is trained. All but the method is of adapters. */
interface MethodOptions {
  /** `lora` by default; `full` needs a model that was loaded with `dtype: "f32"`. */
  readonly method?: "lora" | "lamda" | "full"
  /** 8 by default */
  readonly rank?: number
  /** Twice the rank by default. */
  readonly alpha?: number
  /** Names of linear layers such as `q_proj`, a regular expression over their paths, or `all-linear`, which is the default. */
  readonly targets?: readonly string[] | string
  /** Other ranks or alphas for some layers, by a name or a regular expression. */
  readonly rankPattern?: Readonly<Record<string, number>>
  readonly alphaPattern?: Readonly<Record<string, number>>
  /** Scale by `alpha / sqrt(rank)` (arXiv:2312.03732). */
  readonly rslora?: boolean
  /** Train the norms of the rows apart (arXiv:2402.09353). */
  readonly dora?: boolean
  /** `default` for LoRA, `svd-sigma` for LaMDA. */
  readonly init?: LoraInit | LamdaInit
  /** LaMDA: the share of the run after which all of B is frozen; 0.3 by default. */
  readonly eta?: number
  /** LaMDA++: give each layer a rank between these by the spectrum of its weight, `rank` on average. */
  readonly spectrum?: { readonly low: number; readonly high: number }
  /** What the adapter is called beside the model; `tuned` by default. */
  readonly name?: string
}

/** How many updates, by what. */
interface StepOptions {
  /** Updates in all; 200 by default. */
  readonly steps?: number
  /** Rows per update; 4 by default. */
  readonly batch?: number
  /** Tokens per row; 512 by default, or the model's limit if less. */
  readonly context?: number
  /** Rows that go through the model at once, all of the batch by default; fewer take less memory and give the same gradient. */
  readonly rowsAtOnce?: number
  /** Compute again what each layer needs for its gradients instead of keeping it: less memory, more time. */
  readonly recompute?: boolean
}

/** What an update does. */
interface OptimizerOptions {
  /** The highest learning rate: 1e-4 for LoRA, 3e-4 for LaMDA, 2e-5 for all weights. */
  readonly rate?: number
  /** `cosine` by default */
  readonly schedule?: ScheduleName
  /** Updates until the rate is reached; 3 % of all by default. */
  readonly warmup?: number
  /** `adamw` by default; anything with the interface will do. */
  readonly optimizer?: "adamw" | "sgd" | Optimizer
  /** 0.01 by default; norms are left out. */
  readonly weightDecay?: number
  /**
   * Of the products of low-rank layers' factors, in place of the weight decay of each, as a part of the loss
   * (arXiv:2105.01029). 0, the default, leaves the weight decay.
   */
  readonly productDecay?: number
  /** AdamW's; 0.9 and 0.999 by default. */
  readonly betas?: readonly [number, number]
  /** SGD's; 0.9 by default. */
  readonly momentum?: number
  /** Gradients are scaled down to this norm; 1 by default, 0 for no limit. */
  readonly maxNorm?: number
}

/** What there is to learn, and to measure by. */
interface DataOptions {
  /** Of initial weights, and of the order of the data; 0 by default. */
  readonly seed?: number
  /** `documents` by default: examples share rows and do not see each other. */
  readonly packing?: Packing
  /** true by default */
  readonly shuffle?: boolean
  /**
   * Records to measure by and not to learn: a number of them, a share below 1, or other data. A twentieth by default, at
   * most 64, and none of fewer than 20 records.
   */
  readonly heldOut?: number | Dataset
  /** Which of the records these are: any, by the seed, or the last. `random` by default. */
  readonly heldOutFrom?: "random" | "end"
  /** Go on after a record that cannot be made into tokens, and count it. */
  readonly skipBad?: boolean
  /** Updates between measurements; a tenth of all by default, 0 for none. */
  readonly evaluateEvery?: number
}

/** What becomes of a run. */
interface RunOptions {
  /** Where to keep the run's files. Without one nothing is kept, and `adapter()` gives the result. */
  readonly store?: Store
  /** Updates between checkpoints; a tenth of all by default. */
  readonly saveEvery?: number
  /** Go on from the checkpoint in the store. */
  readonly resume?: boolean
  /** Kept with the checkpoint, to be found by `readTrainingFile`. */
  readonly note?: unknown
  /** GPU bytes that may be in use; what would take more is refused before it is allocated. */
  readonly memoryLimit?: number
  /** Saves, and ends after the step under way. */
  readonly signal?: AbortSignal
  /** Loads the model again when its device is lost; the run then goes on from the last checkpoint. */
  readonly reopen?: () => Promise<LanguageModel>
  /** Hears of the adapters' first numbers, which take a while where weights are decomposed. */
  readonly onPrepare?: (done: number, of: number) => void
}

/** The options with their defaults, as far as the result depends on them: JSON. */
export interface TuneSettings {
  readonly method: "lora" | "lamda" | "full"
  readonly adapter: AdapterSettings | null
  readonly steps: number
  readonly batch: number
  readonly context: number
  readonly rowsAtOnce: number
  readonly rate: number
  readonly schedule: ScheduleName
  readonly warmup: number
  readonly optimizer: {
    readonly name: string
    readonly weightDecay: number
    readonly betas: readonly number[]
    readonly momentum: number
  }
  readonly productDecay: number
  readonly maxNorm: number
  readonly seed: number
  readonly packing: Packing
  readonly shuffle: boolean
  readonly heldOutFrom: "random" | "end"
}

const RATES = { lora: 1e-4, lamda: 3e-4, full: 2e-5 }

/** @throws {RangeError} naming an option that cannot be */
export function resolveOptions(
  options: TuneOptions,
  maxPositions: number,
): { settings: TuneSettings; optimizer: Optimizer } {
  const { method = "lora", rank = 8, seed = 0 } = options
  if (!(method in RATES)) throw new RangeError(`method: is ${method}, expected one of ${Object.keys(RATES).join(", ")}`)
  const steps = whole("steps", options.steps ?? 200, 1)
  const batch = whole("batch", options.batch ?? 4, 1)
  const context = whole("context", options.context ?? Math.min(512, maxPositions), 2, maxPositions)
  const rowsAtOnce = whole("rowsAtOnce", options.rowsAtOnce ?? batch, 1, batch)
  const name = options.schedule ?? "cosine"
  if (!SCHEDULES.includes(name)) throw new RangeError(`schedule: is ${name}, expected one of ${SCHEDULES.join(", ")}`)
  const adapter = method === "full" ? null : adapterSettings(method, rank, seed, options)
  const { weightDecay = 0.01, betas = [0.9, 0.999], momentum = 0.9, optimizer: chosen = "adamw" } = options
  const optimizer = optimizerOf(chosen, weightDecay, betas, momentum)
  const settings: TuneSettings = {
    method,
    adapter,
    steps,
    batch,
    context,
    rowsAtOnce,
    rate: above("rate", options.rate ?? RATES[method]),
    schedule: name,
    warmup: whole("warmup", options.warmup ?? Math.floor(0.03 * steps), 0, steps),
    optimizer: { name: optimizer.name, weightDecay, betas, momentum },
    productDecay: atLeast0("productDecay", options.productDecay ?? 0),
    maxNorm: atLeast0("maxNorm", options.maxNorm ?? 1),
    seed: whole("seed", seed, 0),
    packing: options.packing ?? "documents",
    shuffle: options.shuffle ?? true,
    heldOutFrom: options.heldOutFrom ?? "random",
  }
  return { settings, optimizer }
}

function adapterSettings(
  method: "lora" | "lamda",
  rank: number,
  seed: number,
  options: MethodOptions,
): AdapterSettings {
  const settings: AdapterSettings = {
    method,
    rank,
    alpha: options.alpha ?? 2 * rank,
    targets: options.targets ?? "all-linear",
    rankPattern: options.rankPattern ?? {},
    alphaPattern: options.alphaPattern ?? {},
    rslora: options.rslora ?? false,
    dora: options.dora ?? false,
    init: options.init ?? (method === "lora" ? "default" : "svd-sigma"),
    eta: options.eta ?? 0.3,
    spectrum: options.spectrum ?? null,
    seed,
  }
  expectSettings(settings)
  return settings
}

function optimizerOf(
  chosen: "adamw" | "sgd" | Optimizer,
  weightDecay: number,
  betas: readonly [number, number],
  momentum: number,
): Optimizer {
  if (typeof chosen !== "string") return chosen
  if (chosen === "adamw") return adamw({ betas, weightDecay })
  if (chosen === "sgd") return sgd({ momentum, weightDecay })
  throw new RangeError(`optimizer: is ${chosen}, expected adamw or sgd`)
}

function whole(name: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER): number {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`
  throw new RangeError(`${name}: is ${value}, expected a whole number ${range}`)
}

function above(name: string, value: number): number {
  if (value > 0 && Number.isFinite(value)) return value
  throw new RangeError(`${name}: is ${value}, expected a number above 0`)
}

function atLeast0(name: string, value: number): number {
  if (value >= 0 && Number.isFinite(value)) return value
  throw new RangeError(`${name}: is ${value}, expected a number from 0 on`)
}
