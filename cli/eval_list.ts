import type { Command } from "commander"
import { TASKS } from "../src/eval/index.ts"
import { readSuites } from "./eval_suite.ts"
import { printJson, table } from "./output.ts"

export function define(command: Command): void {
  command
    .description("Tells which tasks and suites there are.")
    .option("--json", "print one object")
    .action(async ({ json }: { readonly json?: boolean }) => {
      const suites = await readSuites()
      if (json) {
        const tasks = TASKS.map(({ name, summary, metric, better, source, data, defaults }) => {
          return { name, summary, metric, better, source, data, defaults }
        })
        printJson({ tasks, suites: Object.fromEntries(suites) })
        return
      }
      const rows = TASKS.map(({ name, metric, summary }) => [`  ${name}`, metric, summary])
      const sets = [...suites].map(([name, { summary }]) => [`  ${name}`, summary])
      process.stdout.write(`Tasks:\n${table(rows)}\n\nSuites:\n${table(sets)}\n`)
    })
}
