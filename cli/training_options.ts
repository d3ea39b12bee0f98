import { type Command, Option } from "commander"
import { type DeviceKind, SCHEDULES, type TuneOptions } from "../src/index.ts"
import { addDeviceOption, addJsonOption, collect, decimal, inside, oneOf, show, whole } from "./options.ts"

/** What every command that trains can be told. Nothing has a default here, so that a resumed run knows what was said. */
export interface TrainingFlags {
  readonly device?: DeviceKind
  readonly out?: string
  readonly resume?: boolean
  readonly force?: boolean
  readonly saveEvery?: number
  readonly json?: boolean
  readonly data?: string[]
  readonly heldOut?: number | string
  readonly heldOutFrom?: "random" | "end"
  readonly packing?: "documents" | "stream" | "none"
  readonly shuffle?: boolean
  readonly skipBad?: boolean
  readonly steps?: number
  readonly batch?: number
  readonly context?: number
  readonly lr?: number
  readonly schedule?: TuneOptions["schedule"]
  readonly warmup?: number
  readonly optimizer?: "adamw" | "sgd"
  readonly weightDecay?: number
  readonly productDecay?: number
  readonly beta1?: number
  readonly beta2?: number
  readonly momentum?: number
  readonly clip?: number
  readonly seed?: number
  readonly evaluateEvery?: number
  readonly rowsAtOnce?: number
  readonly recompute?: boolean
  readonly memoryLimit?: number
}

/** What is trained of a model. */
export interface MethodFlags {
  readonly method?: "lora" | "lamda" | "full"
  readonly rank?: number
  readonly alpha?: number
  readonly targets?: string | string[]
  readonly rankPattern?: Record<string, number>
  readonly alphaPattern?: Record<string, number>
  readonly rslora?: boolean
  readonly dora?: boolean
  readonly init?: TuneOptions["init"]
  readonly eta?: number
  readonly spectrum?: { readonly low: number; readonly high: number }
}

/** What the help says of defaults that commands differ in. */
export interface TrainingDefaults {
  readonly steps: string
  readonly lr: string
  readonly warmup: string
  readonly weightDecay: string
  readonly beta2: string
}

const METHODS = ["lora", "lamda", "full"] as const
const INITS = ["default", "gaussian", "pissa", "olora", "svd-sigma", "svd-zero", "released"] as const
const UNITS: Readonly<Record<string, number>> = { b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 }

/** Where the run lies, and what becomes of one that was stopped. */
export function addRunOptions(command: Command, out: string): Command {
  return addDeviceOption(command)
    .optionsGroup("Run:")
    .option("-o, --out <folder>", `where the results and the run itself are kept (default: ${out})`)
    .option("--resume", "go on with the run in --out; its options are kept there, --data included")
    .option("--force", "write into a folder that is not empty; a run in it is lost")
    .option("--save-every <n>", "steps between checkpoints (default: a tenth of all)", whole("--save-every", 1))
}

export function addDataOptions(command: Command): Command {
  return command
    .optionsGroup("Data:")
    .option(
      "--data <path>",
      "a .jsonl, .txt or .md file, perhaps with .gz, or a folder of them (repeatable)",
      collect("--data"),
    )
    .option(
      "--held-out <what>",
      "records to measure by and not to learn: how many, a share below 1, or a file of others (default: a twentieth, at most 64)",
      heldOut,
    )
    .option(
      "--held-out-from <where>",
      "which records these are: random or end (default: random)",
      oneOf("--held-out-from", ["random", "end"]),
    )
    .option(
      "--packing <how>",
      "how texts share rows: documents do not see each other, stream is one long text, none gives each its own (default: documents)",
      oneOf("--packing", ["documents", "stream", "none"]),
    )
    .option("--no-shuffle", "keep the records in order")
    .option("--skip-bad", "go on after a record that cannot be used, and count it")
}

export function addMethodOptions(command: Command): Command {
  return command
    .optionsGroup("Method:")
    .option(
      "--method <name>",
      "lora (arXiv:2106.09685), lamda (arXiv:2406.12832) or full for all weights (default: lora)",
      oneOf("--method", METHODS),
    )
    .option("-r, --rank <r>", "rank of the adapter (default: 8)", whole("--rank", 1))
    .option("--alpha <a>", "its product is scaled by alpha / rank (default: twice the rank)", positive("--alpha"))
    .option(
      "--targets <what>",
      "layers that get one: names such as q_proj,v_proj, a regular expression over paths, or all-linear (default: all-linear)",
      targets,
    )
    .option(
      "--rank-pattern <name=r>",
      "another rank for some layers (repeatable)",
      pattern("--rank-pattern", whole("--rank-pattern", 1)),
    )
    .option(
      "--alpha-pattern <name=a>",
      "another alpha for some layers (repeatable)",
      pattern("--alpha-pattern", positive("--alpha-pattern")),
    )
    .option("--rslora", "scale by alpha / sqrt(rank) (arXiv:2312.03732)")
    .option("--dora", "train the norms of the weights' rows apart (arXiv:2402.09353)")
    .option(
      "--init <how>",
      "lora: default, gaussian, pissa, olora; lamda: svd-sigma, svd-zero, released (default: default, svd-sigma)",
      oneOf("--init", INITS),
    )
    .option(
      "--eta <share>",
      "lamda: share of the run after which all of B is frozen (default: 0.3)",
      decimal("--eta", "above 0 and at most 1", (eta) => eta > 0 && eta <= 1),
    )
    .option("--spectrum <low:high>", "lamda: a rank for each layer between these, by its weight's spectrum", spectrum)
}

export function addOptimizationOptions(command: Command, defaults: TrainingDefaults): Command {
  const { steps, lr, warmup, weightDecay, beta2 } = defaults
  const beta = (flag: string) => decimal(flag, "from 0 and below 1", (b) => b >= 0 && b < 1)
  return command
    .optionsGroup("Training:")
    .option("-n, --steps <n>", `updates in all (default: ${steps})`, whole("--steps", 1))
    .option("-b, --batch <n>", "rows of an update (default: 4)", whole("--batch", 1))
    .option("-c, --context <n>", "tokens of a row (default: 512, or the model's limit if less)", whole("--context", 2))
    .option("--lr <rate>", `the highest learning rate (default: ${lr})`, positive("--lr"))
    .option("--schedule <name>", `${SCHEDULES.join(", ")} (default: cosine)`, oneOf("--schedule", SCHEDULES))
    .option("--warmup <n>", `updates until the rate is reached (default: ${warmup})`, whole("--warmup", 0))
    .option("--optimizer <name>", "adamw or sgd (default: adamw)", oneOf("--optimizer", ["adamw", "sgd"]))
    .option("--weight-decay <d>", `of all but norms (default: ${weightDecay})`, fromZero("--weight-decay"))
    .option(
      "--product-decay <d>",
      "of the products of low-rank layers' factors, instead of a weight decay of each (default: 0)",
      fromZero("--product-decay"),
    )
    .option("--beta1 <b>", "of adamw (default: 0.9)", beta("--beta1"))
    .option("--beta2 <b>", `of adamw (default: ${beta2})`, beta("--beta2"))
    .option("--momentum <m>", "of sgd (default: 0.9)", beta("--momentum"))
    .option("--clip <norm>", "gradients are scaled down to this norm; 0 for none (default: 1)", fromZero("--clip"))
    .option("-s, --seed <n>", "of first weights and the order of the data (default: 0)", whole("--seed", 0))
    .option(
      "--evaluate-every <n>",
      "updates between measurements of the held-out loss; 0 for none (default: a tenth of all)",
      whole("--evaluate-every", 0),
    )
}

export function addMemoryOptions(command: Command): Command {
  return command
    .optionsGroup("Memory:")
    .option(
      "--rows-at-once <n>",
      "rows that go through the model together: fewer take less memory and give the same (default: all of the batch)",
      whole("--rows-at-once", 1),
    )
    .option("--recompute", "compute layers again instead of keeping their activations: less memory, more time")
    .addOption(
      new Option(
        "--memory-limit <bytes>",
        "refuse what would take more on the device, such as 6GiB (default: none, or 90 % of the machine's on the CPU)",
      ).argParser(byteCount),
    )
}

export function addTrainingJsonOption(command: Command): Command {
  return addJsonOption(command, "print one object a line: what it will take, every step, and the end")
}

/** The library's options of the flags; where the run lies and what it learns from is not among them. */
export function tuneOptions(flags: TrainingFlags & MethodFlags): TuneOptions {
  expectUseful(flags)
  const { method, rank, alpha, targets, rankPattern, alphaPattern, rslora, dora, init, eta, spectrum } = flags
  const {
    steps,
    batch,
    context,
    rowsAtOnce,
    recompute,
    schedule,
    warmup,
    optimizer,
    weightDecay,
    momentum,
    productDecay,
  } = flags
  const { seed, packing, shuffle, heldOutFrom, skipBad, evaluateEvery, saveEvery, memoryLimit } = flags
  const { lr: rate, clip: maxNorm, beta1 = 0.9, beta2 = 0.999 } = flags
  return {
    ...{ method, rank, alpha, targets, rankPattern, alphaPattern, rslora, dora, init, eta, spectrum },
    ...{ steps, batch, context, rowsAtOnce, recompute, rate, schedule, warmup, optimizer, weightDecay, momentum },
    ...{ productDecay, betas: [beta1, beta2], maxNorm, seed, packing, shuffle, heldOutFrom, skipBad },
    ...{ evaluateEvery, saveEvery, memoryLimit },
  }
}

/** A flag that the others make meaningless is a mistake. */
function expectUseful(flags: TrainingFlags & MethodFlags): void {
  const { method = "lora", optimizer = "adamw" } = flags
  const only = (names: readonly (keyof typeof flags)[], holds: boolean, given: string, expected: string) => {
    const name = names.find((each) => flags[each] !== undefined)
    if (holds || name === undefined) return
    throw new RangeError(`${flagOf(name)}: is given with ${given}, expected ${expected}`)
  }
  const shape = ["rank", "alpha", "targets", "rankPattern", "alphaPattern", "rslora", "dora", "init"] as const
  only(shape, method !== "full", "--method full", "--method lora or lamda")
  only(["productDecay"], method === "full", `--method ${method}`, "--method full")
  only(["eta", "spectrum"], method === "lamda", `--method ${method}`, "--method lamda")
  only(["beta1", "beta2"], optimizer === "adamw", `--optimizer ${optimizer}`, "--optimizer adamw")
  only(["momentum"], optimizer === "sgd", `--optimizer ${optimizer}`, "--optimizer sgd")
}

const FLAGS: Readonly<Record<string, string>> = { rate: "--lr", maxNorm: "--clip", betas: "--beta1 and --beta2" }

/** What the command line calls an option of the library: `--rows-at-once` of `rowsAtOnce`. */
export function flagOf(option: string): string {
  return FLAGS[option] ?? `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

function positive(flag: string): (text: string) => number {
  return decimal(flag, "above 0", (value) => value > 0 && Number.isFinite(value))
}

function fromZero(flag: string): (text: string) => number {
  return decimal(flag, "from 0 on", inside(0, Number.MAX_VALUE))
}

/** A number of records, a share of them, or else a path. */
function heldOut(text: string): number | string {
  const value = Number(text)
  if (text.trim() === "" || Number.isNaN(value)) return text
  if (value >= 0 && (value < 1 || Number.isSafeInteger(value))) return value
  throw new RangeError(`--held-out: value is ${show(text)}, expected a number of records, a share below 1 or a file`)
}

/** Names stand in a list; anything else is a regular expression. */
function targets(text: string): string | string[] {
  const names = text.split(",").map((name) => name.trim())
  return text !== "all-linear" && names.every((name) => /^[\w.]+$/.test(name)) ? names : text
}

/** An option of the form `name=value`. */
function pattern(flag: string, read: (text: string) => number) {
  return (text: string, before: Record<string, number> = {}): Record<string, number> => {
    const [, name, value] = /^(.+)=([^=]+)$/.exec(text) ?? []
    if (name === undefined) throw new RangeError(`${flag}: value is ${show(text)}, expected one such as q_proj=16`)
    return { ...before, [name]: read(value!) }
  }
}

function spectrum(text: string): { low: number; high: number } {
  const [, low, high] = /^(\d+):(\d+)$/.exec(text) ?? []
  if (low !== undefined && Number(low) >= 1 && Number(low) <= Number(high))
    return { low: Number(low), high: Number(high) }
  throw new RangeError(`--spectrum: value is ${show(text)}, expected two ranks such as 4:16`)
}

/** `6GiB`, `512M` or plain bytes; a unit is a power of 1024 however it is spelt. */
function byteCount(text: string): number {
  const [, count, unit = "b"] = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text) ?? []
  const bytes = Math.floor(Number(count) * UNITS[unit.toLowerCase() || "b"]!)
  if (bytes >= 1) return bytes
  throw new RangeError(`--memory-limit: value is ${show(text)}, expected bytes such as 6GiB`)
}
