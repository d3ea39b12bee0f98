import type { EvalFolder } from "./folder.ts"
import type { ResultLine, RunFile } from "./results.ts"
import { fileNames, keyOf, type ReadRun, readRun, together } from "./run_folder.ts"

/** What was put together. */
export interface Merged {
  readonly run: RunFile
  readonly results: number
  readonly notes: readonly string[]
}

/**
 * Puts the results of several folders, or of the shards in one, into one folder. A result that two of them have must be the same.
 *
 * @throws {RangeError} when they are of different runs, or contradict each other
 */
export async function mergeRuns(folders: readonly EvalFolder[], out: EvalFolder): Promise<Merged> {
  if (folders.length === 0) throw new RangeError("merge: number of folders is 0, expected at least 1")
  const files = fileNames(undefined)
  const release = await out.hold(files.results)
  try {
    const taken = (await out.list()).find((name) => /^(run|results)/.test(name))
    if (taken) throw new RangeError(`${out.name}: ${taken} is there already, expected a folder without results`)
    const runs: ReadRun[] = []
    for (const folder of folders) runs.push(await readRun(folder))
    const run = runs.map((each) => each.run).reduce((a, b) => together(a, b, out.name))
    const lines = unite(runs)
    const prompts = new Map(runs.flatMap((each) => each.prompts).map((each) => [keyOf(each), each]))
    await out.write(files.run, `${JSON.stringify(run, undefined, 2)}\n`)
    if (prompts.size > 0) await out.write(files.prompts, jsonLines([...prompts.values()]))
    await out.write(files.results, jsonLines(lines)) // last: a folder with results is whole
    return { run, results: lines.length, notes: runs.flatMap((each) => each.notes) }
  } finally {
    await release()
  }
}

function unite(runs: readonly ReadRun[]): ResultLine[] {
  const all = new Map<string, { readonly line: ResultLine; readonly from: string }>()
  for (const { name, lines } of runs) {
    for (const line of lines) {
      const other = all.get(keyOf(line))
      if (other && !isSame(other.line, line)) {
        const [a, b] = [other.line, line].map((each) => each.score ?? each.trouble)
        throw new RangeError(`merge: score of ${line.id} is ${b} in ${name}, expected ${a} as in ${other.from}`)
      }
      if (!other) all.set(keyOf(line), { line, from: name })
    }
  }
  return [...all.values()].map(({ line }) => line)
}

/** Whether two results say the same, whatever they took. */
function isSame(a: ResultLine, b: ResultLine): boolean {
  return a.score === b.score && a.answer === b.answer && a.trouble === b.trouble
}

function jsonLines(values: readonly object[]): string {
  return values.map((value) => `${JSON.stringify(value)}\n`).join("")
}
