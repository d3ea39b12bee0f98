import { mkdir, writeFile } from "node:fs/promises"
import { basename, dirname, join, resolve } from "node:path"
import type { Command } from "commander"
import { type EvalReport, evalReport, PROMPT_DETAILS, type PromptDetail, readRun, TASKS } from "../src/eval/index.ts"
import { evalFolder, formatBytes } from "../src/index.ts"
import { addJsonOption, oneOf, whole } from "./options.ts"
import { note, printJson, shellWord, table } from "./output.ts"

interface Flags {
  readonly out: string
  readonly title?: string
  readonly prompts: PromptDetail
  readonly svg?: string
  readonly csv?: string
  readonly seed: number
  readonly json?: boolean
}

const EXAMPLES = `
Examples:
  gemlet eval report results
  gemlet eval report base tuned --out base-and-tuned.html
  gemlet eval report results --svg charts --csv tables --prompts none`

export function define(command: Command): void {
  command
    .description(
      "Makes a page of one or more runs, the first of which the others are compared with: one file that needs no network.",
    )
    .argument("<folders...>", "folders that gemlet eval wrote")
    .option("-o, --out <file>", "the page", "report.html")
    .option("--title <text>", "what stands above it (default: the models)")
    .option("--svg <folder>", "write each chart there as well")
    .option("--csv <folder>", "write all numbers there as well")
    .option(
      "--prompts <how>",
      "all, elided (without the middles of those above 32,000 characters) or none",
      oneOf("--prompts", PROMPT_DETAILS),
      "elided",
    )
    .option("-s, --seed <n>", "of what is drawn for intervals and tests", whole("--seed", 0), 0)
  addJsonOption(command, "print one object with all means and differences")
    .addHelpText("after", EXAMPLES)
    .action(writeReport)
}

async function writeReport(folders: string[], flags: Flags): Promise<void> {
  const { out, svg, csv, json, ...options } = flags
  if (!/\.html?$/i.test(out))
    throw new RangeError(`--out: file is ${shellWord(out)}, expected a name that ends in .html`)
  const names = namesOf(folders)
  const runs = []
  for (const [i, folder] of folders.entries()) runs.push({ ...(await readRun(evalFolder(folder))), name: names[i]! })
  const report = await evalReport(runs, TASKS, options)
  const files = [
    { path: out, text: report.html },
    ...(svg === undefined ? [] : report.charts.map(({ name, text }) => ({ path: join(svg, name), text }))),
    ...(csv === undefined ? [] : report.tables.map(({ name, text }) => ({ path: join(csv, name), text }))),
  ]
  for (const { path, text } of files) {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, text)
  }
  for (const text of report.notes) note(text)
  if (json) printJson({ files: files.map(({ path }) => path), runs: names, ...numbersOf(report) })
  else process.stdout.write(`${summary(report, names)}\n\n${out}: ${formatBytes(Buffer.byteLength(report.html))}\n`)
}

/** The folders' own names; where two have the same one, their whole paths. */
function namesOf(folders: readonly string[]): string[] {
  const names = folders.map((folder) => basename(resolve(folder)))
  return new Set(names).size === names.length ? names : folders.map((folder) => resolve(folder))
}

/** What --json tells. docs/evaluation.md describes the fields. */
function numbersOf({ tasks, comparisons, notes }: EvalReport) {
  const scores = tasks.map(({ facts, runs }) => {
    const { name, metric, better } = facts
    return {
      task: name,
      metric,
      better,
      runs: runs.map((run) => ({ ...run, troubles: Object.fromEntries(run.troubles) })),
    }
  })
  return { tasks: scores, comparisons, notes }
}

/** A row for each task: the mean in each run, and how far it is from the first. */
function summary({ tasks, comparisons }: EvalReport, names: readonly string[]): string {
  const others = names.slice(1)
  const head = ["task", "metric", ...names, ...others.flatMap((name) => [`${name} - ${names[0]}`, "p"])]
  const rows = tasks.map(({ facts, runs }) => [
    facts.name,
    facts.metric,
    ...runs.map(({ all }) => formatNumber(all.estimate?.mean)),
    ...others.flatMap((_, i) => {
      const found = comparisons.find((each) => each.task === facts.name && each.run === i + 1)
      return [formatNumber(found?.all.mean), formatNumber(found?.adjustedP)]
    }),
  ])
  return table([head, ...rows], { right: head.map((_, i) => i).slice(2) })
}

function formatNumber(value: number | undefined): string {
  if (value === undefined) return ""
  return Math.abs(value) < 10 ? value.toFixed(3) : value.toPrecision(4)
}
