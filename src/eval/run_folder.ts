import { isObject } from "../model/keys.ts"
import type { EvalFolder } from "./folder.ts"
import {
  checkPrompt,
  checkResult,
  type PromptLine,
  parseRun,
  type ResultLine,
  type RunFile,
  readLines,
} from "./results.ts"

/** A part of a run, for a machine of its own: part `index` of `of`, from 1 on. */
export interface Shard {
  readonly index: number
  readonly of: number
}

/** The names of a run's files; a shard has its own, so that all of them may lie in one folder. */
export function fileNames(shard: Shard | undefined) {
  const part = shard ? `-${shard.index}-of-${shard.of}` : ""
  return {
    run: `run${part}.json`,
    results: `results${part}.jsonl`,
    prompts: `prompts${part}.jsonl`,
    damaged: `damaged${part}.jsonl`,
  }
}

/** All that a folder has of a run, its shards together. */
export interface ReadRun {
  readonly name: string
  readonly run: RunFile
  readonly lines: readonly ResultLine[]
  /** Empty where they were not kept. */
  readonly prompts: readonly PromptLine[]
  /** What could not be read, in words. */
  readonly notes: readonly string[]
}

/**
 * Reads a folder of results.
 *
 * @throws {RangeError} for a folder without a run, or with results of several
 */
export async function readRun(folder: EvalFolder): Promise<ReadRun> {
  const names = [...(await folder.list())].sort()
  const runs: RunFile[] = []
  const notes: string[] = []
  for (const name of names.filter((each) => /^run(-\d+-of-\d+)?\.json$/.test(each))) {
    runs.push(parseRun((await folder.read(name))!, `${folder.name}/${name}`))
  }
  const run = runs.reduce<RunFile | undefined>(
    (all, each) => (all ? together(all, each, folder.name) : each),
    undefined,
  )
  if (!run) throw new RangeError(`${folder.name}: run.json is missing, expected a folder that gemlet eval wrote`)
  const read = async <T extends { readonly task: string; readonly id: string }>(
    pattern: RegExp,
    check: (value: unknown, where: string) => T,
  ) => {
    const found = new Map<string, T>()
    for (const name of names.filter((each) => pattern.test(each))) {
      const { lines, damaged } = readLines((await folder.read(name))!, name, check)
      for (const line of lines) found.set(keyOf(line), line)
      for (const { why } of damaged) notes.push(`${folder.name}: ${why}`)
    }
    return [...found.values()]
  }
  const lines = await read(/^results(-\d+-of-\d+)?\.jsonl$/, checkResult)
  const prompts = await read(/^prompts(-\d+-of-\d+)?\.jsonl$/, checkPrompt)
  const foreign = lines.find((line) => line.run !== run.id)
  if (foreign) {
    throw new RangeError(
      `${folder.name}: result ${foreign.id} is of run ${foreign.run}, expected ${run.id} as in run.json`,
    )
  }
  return { name: folder.name, run, lines, prompts, notes }
}

/** What tells a result from all others of a run. */
export function keyOf({ task, id }: { readonly task: string; readonly id: string }): string {
  return `${task}\n${id}`
}

/**
 * Two parts of the same run as one.
 *
 * @throws {RangeError} naming the first setting in which they differ
 */
export function together(a: RunFile, b: RunFile, where: string): RunFile {
  expectSameRun(b, a, where)
  const known = new Set(a.tasks.map((each) => JSON.stringify(each)))
  const tasks = [...a.tasks, ...b.tasks.filter((each) => !known.has(JSON.stringify(each)))]
  return { ...a, data: { ...a.data, ...b.data }, tasks }
}

/** @throws {RangeError} naming the first setting that is not as it was before */
export function expectSameRun(now: Pick<RunFile, "id" | "identity" | "data">, before: RunFile, where: string): void {
  if (now.id !== before.id) {
    const [path, is, was] = firstDifference(now.identity, before.identity, []) ?? ["run", now.id, before.id]
    throw new RangeError(`${where}: ${path} is ${is}, expected ${was} as in the results that are there`)
  }
  for (const [name, hash] of Object.entries(now.data)) {
    const was = before.data[name]
    if (was === undefined || was === hash) continue
    throw new RangeError(`${where}: data ${name} has hash ${hash}, expected ${was} as for the results that are there`)
  }
}

function firstDifference(a: unknown, b: unknown, path: readonly string[]): [string, string, string] | undefined {
  if (isObject(a) && isObject(b)) {
    for (const key of new Set([...Object.keys(b), ...Object.keys(a)])) {
      if (path[0] === "model" && key === "name") continue
      const found = firstDifference(a[key], b[key], [...path, key])
      if (found) return found
    }
    return undefined
  }
  const [is, was] = [JSON.stringify(a) ?? "missing", JSON.stringify(b) ?? "missing"]
  return is === was ? undefined : [path.join("."), is, was]
}
