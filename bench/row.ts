import { execFileSync } from "node:child_process"
import { appendFile, mkdir } from "node:fs/promises"
import { cpus, loadavg } from "node:os"

/** The commit that is measured, marked if something other than the results differs from it. */
export function commit(): string {
  const git = (...args: string[]) => execFileSync("git", args, { encoding: "utf8" }).trim()
  const changed = git("status", "--porcelain", "--", ".", ":!bench/results") !== ""
  return git("rev-parse", "--short", "HEAD") + (changed ? "-dirty" : "")
}

/**
 * What every row says: of what, when and where it is.
 *
 * @param loadAverage of the minute before the measurement: above 0 there was other work
 */
export function circumstances(
  { description, software }: { description: string; software: boolean },
  loadAverage = loadavg()[0],
) {
  return {
    commit: commit(),
    date: new Date().toISOString(),
    runtime: `node ${process.versions.node}`,
    device: description,
    software,
    cpu: `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}`,
    loadAverage,
  }
}

/** A number as rows have it: to five digits, counts in full. */
export function rounded(_: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value
}

/** Appends a row to a file of bench/results. */
export async function append(file: string, row: object): Promise<void> {
  await mkdir(new URL("results/", import.meta.url), { recursive: true })
  await appendFile(new URL(`results/${file}.jsonl`, import.meta.url), `${JSON.stringify(row, rounded)}\n`)
}

/** The same, and prints it. */
export async function record(file: string, row: object): Promise<void> {
  await append(file, row)
  process.stdout.write(`${JSON.stringify(row, rounded, 2)}\n`)
}
