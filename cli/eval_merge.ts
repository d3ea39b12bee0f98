import type { Command } from "commander"
import { mergeRuns } from "../src/eval/index.ts"
import { evalFolder } from "../src/index.ts"
import { note } from "./output.ts"

const EXAMPLES = `
Examples:
  gemlet eval merge part-1 part-2 part-3 --out results
  gemlet eval merge shared-folder --out results      (shards that lie in one folder)`

export function define(command: Command): void {
  command
    .description("Puts the results of several folders, or the shards in one, into a new folder.")
    .argument("<folders...>", "folders that gemlet eval wrote")
    .requiredOption("-o, --out <folder>", "where to write them")
    .addHelpText("after", EXAMPLES)
    .action(async (folders: string[], { out }: { readonly out: string }) => {
      const { results, run, notes } = await mergeRuns(folders.map(evalFolder), evalFolder(out))
      for (const text of notes) note(text)
      process.stdout.write(`${out}: ${results} results of run ${run.id}\n`)
    })
}
