import type { Command } from "commander"
import {
  type DistillRunOptions,
  type DistillTuneOptions,
  dataFiles,
  distill,
  type LanguageModel,
  openTeacherCache,
  type TeacherCache,
} from "../src/index.ts"
import { type LoadedModel, loadModel } from "./model.ts"
import { collect, decimal, inside, oneOf, whole } from "./options.ts"
import { NO_CACHE, openData, type Run, runTraining } from "./training.ts"
import {
  addDataOptions,
  addMemoryOptions,
  addMethodOptions,
  addOptimizationOptions,
  addRunOptions,
  addTrainingJsonOption,
  flagOf,
  type MethodFlags,
  type TrainingFlags,
  tuneOptions,
} from "./training_options.ts"
import { commandLine } from "./training_report.ts"
import { DEFAULTS } from "./tune.ts"

interface Flags extends MethodFlags, TrainingFlags {
  readonly student?: string
  readonly studentRevision?: string
  readonly teacher?: string
  readonly teacherRevision?: string
  readonly teacherAdapter?: string[]
  readonly cache?: string
  readonly kind?: DistillTuneOptions["kind"]
  readonly beta?: number
  readonly temperature?: number
  readonly mix?: number
  readonly hinton?: boolean
  readonly topK?: number
  readonly support?: DistillTuneOptions["support"]
  readonly over?: DistillTuneOptions["over"]
}

const EXAMPLES = `
Teacher and student must have the same tokenizer. Data, adapters, Ctrl-C and --resume are as for gemlet tune.

Examples:
  gemlet distill --teacher google/gemma-3-1b-it --student google/gemma-3-270m-it --data chats/ --out small
  gemlet distill --teacher teacher --student student --data stories.jsonl --method full --temperature 2 --mix 0.7
  gemlet teach --model teacher --data stories.jsonl --out teacher.safetensors
  gemlet distill --cache teacher.safetensors --student student --out small
  gemlet distill --resume --out small`

export function define(command: Command): void {
  command.description("Trains a student to say what a teacher says: a live one, or one that gemlet teach asked before.")
  addMethodOptions(addDataOptions(addDivergenceOptions(addModels(addRunOptions(command, OUT)))))
  addTrainingJsonOption(addMemoryOptions(addOptimizationOptions(command, DEFAULTS)))
    .addHelpText("after", EXAMPLES)
    .action((_flags: Flags, command: Command) => run(command))
}

const OUT = "adapter, or model with --method full"

function addModels(command: Command): Command {
  return command
    .optionsGroup("Models:")
    .option("--student <location>", "a checkpoint folder, a URL of one, or a Hub id (default: storyteller)")
    .option("--student-revision <name>", "branch, tag or commit of a Hub id")
    .option("--teacher <location>", "likewise")
    .option("--teacher-revision <name>", "likewise")
    .option(
      "--teacher-adapter <folder>",
      "a PEFT adapter to put on the teacher (repeatable)",
      collect("--teacher-adapter"),
    )
    .option("--cache <file>", "what a teacher thought of some data, by gemlet teach: instead of --teacher and --data")
}

function addDivergenceOptions(command: Command): Command {
  const share = (flag: string) => decimal(flag, "from 0 to 1", inside(0, 1))
  return command
    .optionsGroup("Divergence (P is the teacher's distribution, Q the student's):")
    .option(
      "--kind <name>",
      "forward_kl, KL(P || Q); reverse_kl, KL(Q || P); jsd, a mixture (arXiv:2306.13649) (default: forward_kl)",
      oneOf("--kind", ["forward_kl", "reverse_kl", "jsd"]),
    )
    .option("--beta <b>", "of jsd: from 0, as forward_kl, to 1, as reverse_kl (default: 0.5)", share("--beta"))
    .option(
      "--temperature <t>",
      "what logits are divided by (default: 1, or the cache's)",
      decimal("--temperature", "above 0", (t) => t > 0 && Number.isFinite(t)),
    )
    .option("--mix <w>", "the loss is (1 - w) cross-entropy + w divergence (default: 1)", share("--mix"))
    .option("--no-hinton", "do not multiply the divergence by the temperature's square")
    .option("--top-k <k>", "compare but the k likeliest tokens (default: all)", whole("--top-k", 1, 256))
    .option(
      "--support <whose>",
      "by whom they are the likeliest: teacher or student (default: teacher)",
      oneOf("--support", ["teacher", "student"]),
    )
    .option(
      "--over <what>",
      "with them, what is compared: full, support or tail (default: full for forward_kl, else tail)",
      oneOf("--over", ["full", "support", "tail"]),
    )
}

async function run(command: Command): Promise<void> {
  let teacher: LanguageModel | undefined
  let cache: TeacherCache | undefined
  try {
    await runTraining<Flags>(command, {
      defaultOut: ({ method }) => (method === "full" ? "model" : "adapter"),
      paths: ["student", "teacher", "teacherAdapter", "cache", "data", "heldOut"],
      options,
      openData: async (flags) => {
        if (flags.cache === undefined) return openData(flags)
        cache = await openCache(flags.cache)
        return { records: cache.info.rows, heldOutRecords: cache.info.heldOutRows }
      },
      load: async ({ flags }, signal) => {
        await teacher?.dispose() // of a device that was lost
        teacher = cache ? undefined : (await loadTeacher(flags, signal)).lm
        return loadStudent(flags, signal, teacher)
      },
      start: (student, data, options) =>
        inFlags(() => {
          if (cache) return distill(student, cache, options)
          const live: DistillRunOptions = { ...options, reopenTeacher: async () => teacher! }
          return distill(student, teacher!, data!, live)
        }),
      use,
    })
  } finally {
    await teacher?.dispose()
  }
}

/** The library's options, and that the flags go together. */
function options(flags: Flags): DistillRunOptions {
  const { cache, kind, beta, temperature, mix, hinton, topK, support, over } = flags
  if (cache === undefined) {
    for (const name of ["teacher", "data"] as const) {
      if (flags[name] === undefined) throw new RangeError(`${flagOf(name)}: is missing, expected it, or --cache`)
    }
  } else {
    for (const name of NOT_WITH_CACHE) {
      if (flags[name] !== undefined)
        throw new RangeError(`${flagOf(name)}: is given with --cache, expected one of them`)
    }
  }
  if (beta !== undefined && kind !== "jsd") throw new RangeError("--beta: is given, expected it with --kind jsd")
  return { ...tuneOptions(flags), kind, beta, temperature, mix, hinton, topK, support, over }
}

const NOT_WITH_CACHE = [
  ...(["teacher", "teacherRevision", "teacherAdapter", "data", "heldOut", "heldOutFrom", "skipBad"] as const),
  ...(["topK", "support"] as const),
]

/** The file, or the only one of a folder. */
async function openCache(path: string): Promise<TeacherCache> {
  const [file] = await dataFiles([path], (name) => name.endsWith(".safetensors"))
  return openTeacherCache(file!)
}

function loadTeacher(flags: Flags, signal: AbortSignal): Promise<LoadedModel> {
  const { teacher: model, teacherRevision: revision, teacherAdapter: adapter, device = "auto" } = flags
  return loadModel({ model, revision, adapter, device, context: NO_CACHE }, signal)
}

function loadStudent(flags: Flags, signal: AbortSignal, beside: LanguageModel | undefined): Promise<LoadedModel> {
  const { student: model, studentRevision: revision, device = "auto", method } = flags
  const dtype = method === "full" ? "f32" : undefined
  return loadModel({ model, revision, device, context: NO_CACHE }, signal, { dtype, beside })
}

/** An option that the library refuses has a flag's name. */
function inFlags<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof RangeError) {
      error.message = error.message
        .replace(
          /^(\w+): (is .* with(?:out)? )topK, expected topK/,
          (_, name, is) => `${flagOf(name)}: ${is}--top-k, expected --top-k`,
        )
        .replace(/^(over|context|packing|temperature): is /, (_, name) => `${flagOf(name)}: value is `)
    }
    throw error
  }
}

function use({ flags: { student, studentRevision, method }, out }: Run<Flags>): string {
  const words = ["gemlet", "generate", '"Once upon a time"']
  if (method === "full") return commandLine(words, { "--model": out })
  return commandLine(words, { "--model": student, "--revision": studentRevision, "--adapter": out })
}
