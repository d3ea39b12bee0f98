import type { Command } from "commander"
import { findTasks } from "../src/eval/index.ts"
import { define as defineList } from "./eval_list.ts"
import { define as defineMerge } from "./eval_merge.ts"
import { addEvalOptions, type EvalFlags } from "./eval_options.ts"
import { define as defineReport } from "./eval_report.ts"
import { runEval } from "./eval_run.ts"
import { define as defineSuite } from "./eval_suite.ts"
import { define as defineWrite } from "./eval_write.ts"

const EXAMPLES = `
A name that several tasks begin with stands for all of them: niah, mrcr.

Examples:
  gemlet eval list
  gemlet eval niah --model google/gemma-3-1b-it --lengths 1k,4k,32k --depths 0:100:25 --samples 5 --out results
  gemlet eval perplexity position_loss --adapter path/to/adapter --out tuned
  gemlet eval suite ruler --model google/gemma-3-1b-it --out ruler --shard 1/4
  gemlet eval report results tuned --out report.html`

export function define(command: Command): void {
  command
    .description("Measures how well a model uses its context: tasks with known answers, and losses by position.")
    .argument("[tasks...]", "what to run (gemlet eval list tells all)")
    .enablePositionalOptions() // what follows a sub-command is its own
  addEvalOptions(command)
    .addHelpText("after", EXAMPLES)
    .action(async (names: string[], flags: EvalFlags) => {
      if (names.length === 0) command.help({ error: true })
      await runEval(
        names.flatMap((name) => findTasks(name)).map((task) => ({ task })),
        flags,
      )
    })
  const sub = (name: string, summary: string, give: (command: Command) => void) => {
    give(command.command(name).summary(summary).helpOption("-h, --help", "print this help"))
  }
  sub("list", "tell which tasks and suites there are", defineList)
  sub("suite", "run a set of tasks with settings of its own", defineSuite)
  sub("write", "write instances with their answers, to learn from", defineWrite)
  sub("merge", "put the results of several folders into one", defineMerge)
  sub("report", "make a page of results", defineReport)
}
