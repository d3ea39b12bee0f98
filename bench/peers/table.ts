import type { Spread } from "../../test/helpers/decode_timing.ts"
import { chart } from "./chart.ts"
import type { Figures, PeerResult, Row } from "./row.ts"

const BEGIN = "<!-- bench:peers begins -->"
const END = "<!-- bench:peers ends -->"

/** The last row of each adapter, from a file of rows. */
export function lastRows(text: string): Row[] {
  const rows = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Row)
  return [...new Map(rows.map((row) => [row.device, row])).values()]
}

/**
 * A page with its tables replaced.
 *
 * @throws {SyntaxError} where the page has no place for them
 */
export function withTables(page: string, tables: string): string {
  const [start, end] = [page.indexOf(BEGIN), page.indexOf(END)]
  if (start < 0 || end < start)
    throw new SyntaxError(`performance.md: place of the tables is missing, expected ${BEGIN}`)
  return `${page.slice(0, start + BEGIN.length)}\n\n${tables}\n${page.slice(end)}`
}

export function tables(rows: readonly Row[]): string {
  return rows.map(table).join("\n")
}

function table(row: Row): string {
  const lengths = [...new Set(row.peers.flatMap(({ prompts }) => Object.keys(prompts)))]
  const heads = [
    "runtime",
    "version",
    "weights",
    "on",
    "load, s",
    ...lengths.map((length) => `prompt of ${length}, tok/s`),
    ...lengths.map((length) => `decode after ${length}, tok/s`),
    `as ${row.reference}`,
  ]
  const computed = row.software ? "A software adapter: nothing here says anything about a GPU. " : ""
  return [
    `### ${row.device}`,
    "",
    `${row.date.slice(0, 10)}, commit ${row.commit}, ${row.runtime}, ${row.cpu}, load average before ${row.loadAverage}. ${computed}`.trim(),
    `${row.model}, context ${row.context}, ${row.tokens} greedy tokens after each prompt, rounds: ${row.rounds}. Median (least to most).`,
    "",
    line(heads),
    line(heads.map((_, i) => (i < 4 ? "---" : "---:"))),
    ...row.peers.map((peer) => line(cells(peer, lengths, (row.tokens + 1) * row.rounds))),
    "",
    ...row.peers.flatMap(({ runtime, dtype, error }) => (error ? [`- ${runtime} ${dtype} failed: ${error}`] : [])),
    ...(row.peers.some(({ error }) => error) ? [""] : []),
    `![Tokens per second of each runtime](${chart.nameOf(row)})`,
    "",
  ].join("\n")
}

function cells(peer: PeerResult, lengths: readonly string[], asked: number): string[] {
  const { runtime, version, dtype, computesOn, loadMs, prompts, error } = peer
  const each = (cell: (figures: Figures) => string) =>
    lengths.map((length) => {
      const figures = prompts[length]
      return figures ? cell(figures) : error ? "failed" : ""
    })
  const agreeing = lengths.flatMap((length) => prompts[length]?.agreeing ?? [])
  return [
    runtime,
    version,
    dtype,
    computesOn,
    loadMs === undefined ? "" : (loadMs / 1000).toPrecision(2),
    ...each(({ prefillTokensPerSecond }) => range(prefillTokensPerSecond)),
    ...each(({ decodeTokensPerSecond }) => range(decodeTokensPerSecond)),
    agreeing.length > 0 ? `${agreeing.join(", ")} of ${asked}` : "",
  ]
}

function range({ median, min, max }: Spread): string {
  return `${shown(median)} (${shown(min)} to ${shown(max)})`
}

/** Three digits, or all that are before the point. */
function shown(rate: number): string {
  return rate >= 100 ? `${Math.round(rate)}` : `${Number(rate.toPrecision(3))}`
}

/** A line of a table: bars in texts, such as of errors, would end its cells. */
function line(texts: readonly string[]): string {
  return `| ${texts.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`
}
