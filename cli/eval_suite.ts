import { existsSync } from "node:fs"
import { readdir, readFile } from "node:fs/promises"
import { basename, join } from "node:path"
import type { Command } from "commander"
import { findTasks, parseSuite, type Suite } from "../src/eval/index.ts"
import { packaged } from "../src/index.ts"
import { addEvalOptions, type EvalFlags } from "./eval_options.ts"
import { runEval } from "./eval_run.ts"

const EXAMPLES = `
A suite is a file such as those of weights/eval/suites: { "summary": "...", "tasks": [{ "task": "niah", "lengths": [1024] }] }.
What is given here goes before what it says.

Examples:
  gemlet eval suite small --out results
  gemlet eval suite ruler --model google/gemma-3-1b-it --lengths 4k --out ruler
  gemlet eval suite my_suite.json --out mine`

export function define(command: Command): void {
  command
    .description("Runs a set of tasks with settings of its own.")
    .argument("<suite>", "a name that gemlet eval list tells, or a file")
  addEvalOptions(command)
    .addHelpText("after", EXAMPLES)
    .action(async (name: string, flags: EvalFlags) => {
      const { tasks } = await readSuite(name)
      const wanted = tasks.flatMap(({ task: found, ...request }) => findTasks(found).map((task) => ({ task, request })))
      await runEval(wanted, flags)
    })
}

/** The suites that come with the package, by name. */
export async function readSuites(): Promise<ReadonlyMap<string, Suite>> {
  const folder = suitesFolder()
  const files = (await readdir(folder)).filter((file) => file.endsWith(".json")).sort()
  const suites = new Map<string, Suite>()
  for (const file of files) {
    suites.set(basename(file, ".json"), parseSuite(await readFile(join(folder, file), "utf8"), file))
  }
  return suites
}

async function readSuite(name: string): Promise<Suite> {
  if (existsSync(name)) return parseSuite(await readFile(name, "utf8"), name)
  const suites = await readSuites()
  const suite = suites.get(name)
  if (suite) return suite
  throw new RangeError(`suite: is ${JSON.stringify(name)}, expected a file or one of ${[...suites.keys()].join(", ")}`)
}

function suitesFolder(): string {
  return join(packaged("eval"), "suites")
}
