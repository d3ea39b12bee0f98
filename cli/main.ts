#!/usr/bin/env node
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Command, CommanderError } from "commander"

/** What a command's module does: give the command its arguments, options, examples and action. */
interface CommandModule {
  define(command: Command): void
}

// A module is imported when its command runs: it brings the whole library along, and `gemlet --help` needs none of it.
const COMMANDS: Readonly<Record<string, { readonly summary: string; readonly module: () => Promise<CommandModule> }>> =
  {
    generate: { summary: "continue a text", module: () => import("./generate.ts") },
    chat: { summary: "have a conversation", module: () => import("./chat.ts") },
    serve: { summary: "answer requests as OpenAI's API does", module: () => import("./serve.ts") },
    inspect: { summary: "describe a checkpoint, from its headers alone", module: () => import("./inspect.ts") },
    score: { summary: "tell how probable a text is", module: () => import("./score.ts") },
    eval: { summary: "measure how well a model uses its context", module: () => import("./eval.ts") },
    tune: { summary: "fine-tune a model, or an adapter on it", module: () => import("./tune.ts") },
    distill: { summary: "train a model to say what a teacher says", module: () => import("./distill.ts") },
    teach: { summary: "write down what a teacher thinks of some data", module: () => import("./teach.ts") },
    train: { summary: "train a new model from a config", module: () => import("./train.ts") },
    pack: { summary: "store ternary weights in two bits each", module: () => import("./pack.ts") },
    quantize: { summary: "round a model's weights to four or eight bits", module: () => import("./quantize.ts") },
    merge: { summary: "add adapters to a model's weights", module: () => import("./merge.ts") },
    compress: { summary: "make a model's layers low-rank", module: () => import("./compress.ts") },
  }

const EXAMPLES = `
Examples:
  gemlet generate "Once upon a time"
  gemlet chat --model google/gemma-3-270m-it
  gemlet inspect --model path/to/checkpoint
  gemlet score --file story.txt
  gemlet tune --data stories.jsonl --out adapter
  gemlet generate --adapter adapter "Once upon a time"

Without --model the commands use storyteller, a small model that comes with gemlet and writes children's stories.`

async function main(args: readonly string[]): Promise<void> {
  // A reader that has enough, such as head, is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0)
    throw error
  })
  const program = new Command("gemlet")
    .description("Gemma-style language models on WebGPU")
    .version(readVersion(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .enablePositionalOptions() // what follows a command is its own
    .addHelpText("after", EXAMPLES)
    .exitOverride()
    .configureOutput({ outputError: () => {} }) // reported below, like every other error
  let command = program
  const wanted = args[0] === "help" ? args[1] : args[0]
  for (const [name, { summary, module }] of Object.entries(COMMANDS)) {
    const each = program.command(name).summary(summary).description(summary)
    if (name !== wanted) continue
    const { define } = await module()
    define(each)
    command = each.commands.find((sub) => sub.name() === args[1]) ?? each
  }
  try {
    if (args.length === 0) program.help()
    await program.parseAsync(args, { from: "user" })
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return // the help or the version
    const { report } = await import("./errors.ts")
    process.exitCode = report(error, command)
  }
}

/** The package's version; the compiled file lies one folder deeper than its source. */
function readVersion(): string {
  for (const place of ["../package.json", "../../package.json"]) {
    try {
      return JSON.parse(readFileSync(fileURLToPath(new URL(place, import.meta.url)), "utf8")).version
    } catch {
      // The other place.
    }
  }
  return "unknown"
}

await main(process.argv.slice(2))
