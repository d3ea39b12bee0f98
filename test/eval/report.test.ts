import { expect, test } from "vitest"
import { differenceColors, inkOn, scoreColors } from "../../src/eval/report/color.ts"
import { shownPrompt } from "../../src/eval/report/drill_data.ts"
import { evalReport } from "../../src/eval/report/report.ts"
import { checkResult } from "../../src/eval/results.ts"
import type { ReadRun } from "../../src/eval/run_folder.ts"
import { DEPTHS, LENGTHS, resultLine, runFile, SAMPLES, syntheticRun, TASKS } from "./report_data.ts"

const base = syntheticRun("base", 0.45, 1)
const adapter = syntheticRun("adapter", 0.85, 2)
const both = await evalReport([base, adapter], TASKS)

const HOSTILE = `</script><script>window.hostile = 1</script><img src=x onerror="hostile=1">'"&\u2028\u0000\ud800`

function hostileRun(name: string): ReadRun {
  const line = resultLine({
    ...{ task: HOSTILE, id: HOSTILE, length: 1024, depth: 50, score: 0.5, answer: HOSTILE, refs: [HOSTILE] },
    meta: { [HOSTILE]: HOSTILE },
  })
  const failed = resultLine({ task: HOSTILE, id: "other", length: 1024, depth: 0, trouble: HOSTILE })
  const run = runFile(HOSTILE, { model: { name: HOSTILE, hash: HOSTILE }, settings: { [HOSTILE]: HOSTILE } })
  return {
    name,
    run,
    lines: [line, failed],
    prompts: [{ task: HOSTILE, id: HOSTILE, text: HOSTILE }],
    notes: [HOSTILE],
  }
}

/** RFC 4180, read letter by letter. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = []
  let row: string[] = []
  let field = ""
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const letter = text[i]!
    if (letter === '"' && quoted && text[i + 1] === '"') field += text[++i]
    else if (letter === '"') quoted = !quoted
    else if (quoted || !/[,\r\n]/.test(letter)) field += letter
    else if (letter !== "\r") {
      row.push(field)
      field = ""
      if (letter === "\n") row = rows[rows.push(row)] ?? []
    }
  }
  return rows
}

function records(report: typeof both, name: string): Record<string, string>[] {
  const [head, ...rows] = parseCsv(report.tables.find((each) => each.name === name)!.text)
  return rows.map((row) => Object.fromEntries(head!.map((key, i) => [key, row[i]!])))
}

test("evalReport has the mean of each task, length and place", () => {
  const needles = both.tasks.find(({ facts }) => facts.name === "niah_single")!
  const mean = (length?: number, depth?: number) => {
    const own = base.lines.filter(({ task }) => task === "niah_single")
    const at = own.filter((line) => (length ?? line.length) === line.length && (depth ?? line.depth) === line.depth)
    return at.reduce((sum, line) => sum + line.score!, 0) / at.length
  }
  const { all, byLength, byPlace } = needles.runs[0]!
  expect(all.estimate).toMatchObject({
    count: LENGTHS.length * DEPTHS.length * SAMPLES,
    mean: expect.closeTo(mean(), 12),
  })
  expect(byLength.map(({ length, estimate }) => [length, estimate!.mean])).toEqual(
    LENGTHS.map((length) => [length, expect.closeTo(mean(length), 12)]),
  )
  expect(byPlace).toHaveLength(LENGTHS.length * DEPTHS.length)
  for (const { length, depth, estimate } of byPlace) expect(estimate!.mean).toBeCloseTo(mean(length, depth), 12)
  expect(all.baselines).toEqual({ empty: 0, echo: 1, random: expect.closeTo(0.04, 12) })
  expect(needles.runs[0]!.parts.exact).toBeCloseTo(mean(), 12)
})

test("evalReport fits losses by position, and names what could not be run", () => {
  const losses = both.tasks.find(({ facts }) => facts.name === "position_loss")!.runs[0]!
  expect(losses.positions).toHaveLength(13)
  expect(losses.fit!.beta).toBeCloseTo(-0.4, 0)
  expect(losses.fit!.r2).toBeGreaterThan(0.98)
  const lists = both.tasks.find(({ facts }) => facts.name === "latent_list")!.runs[0]!
  expect(lists.byLength.at(-1)).toMatchObject({ length: 32768, estimate: undefined, troubles: SAMPLES })
  expect(both.notes.join("\n")).toMatch(/base: 5 instances of latent_list could not be run: .*expected at most 8192/)
})

test("evalReport tells which differences are beyond chance", () => {
  const found = Object.fromEntries(both.comparisons.map((each) => [each.task, each]))
  expect(found.niah_single!.all.mean).toBeGreaterThan(0.1)
  expect(found.niah_single!.adjustedP).toBeLessThan(0.05)
  expect(found.position_loss!.all.mean).toBeCloseTo(-0.4, 0)
  expect(found.position_loss!.adjustedP).toBeLessThan(0.05)
  expect(found.latent_list!.adjustedP).toBeGreaterThan(0.05)
  expect(both.html).toContain("beyond chance: better in 2, worse in 0 of 3 tasks")
})

test("evalReport compares only what both have, and says where runs are not alike", async () => {
  const file = runFile("other", { seed: 3 })
  const other: ReadRun = {
    ...adapter,
    run: { ...file, data: { essays: "another" } },
    lines: adapter.lines.slice(0, 10),
    prompts: adapter.prompts.map((prompt, i) => (i === 0 ? { ...prompt, text: "another prompt" } : prompt)),
  }
  const { comparisons, notes } = await evalReport([base, other], TASKS, { prompts: "all" })
  expect(comparisons.map(({ task, all }) => [task, all.count])).toEqual([["niah_single", 10]])
  expect(notes.join("\n")).toMatch(/adapter has another seed than base\nadapter has another version of the data essays/)
  expect(notes.join("\n")).toMatch(/1 instance had another prompt/)
  expect(notes.join("\n")).toMatch(/122 instances are not in every run/)
})

test("evalReport is the same for the same results", async () => {
  const again = await evalReport([base, adapter], TASKS)
  expect(again.html).toBe(both.html)
})

test("evalReport names what is no set of runs", async () => {
  await expect(evalReport([], TASKS)).rejects.toThrow("report: number of runs is 0, expected at least 1")
  await expect(evalReport([base, base], TASKS)).rejects.toThrow("report: base is there twice")
  await expect(evalReport([{ ...base, lines: [] }], TASKS)).rejects.toThrow("number of results of base is 0")
})

test("evalReport's tables have every number in full", () => {
  const instances = records(both, "instances.csv")
  const lines = [...base.lines, ...adapter.lines]
  expect(instances).toHaveLength(lines.length)
  for (const [i, { id, score, answer, refs }] of lines.entries()) {
    const { score: written, answer: said, refs: wanted } = instances[i]!
    expect([instances[i]!.id, written]).toEqual([id, score === undefined ? "" : String(score)])
    expect([said && JSON.parse(said), wanted && JSON.parse(wanted)]).toEqual([answer ?? "", refs ?? ""])
  }
  const all = records(both, "scores.csv").find(({ task, length }) => task === "niah_single" && length === "")!
  expect(Number(all.mean)).toBe(both.tasks[1]!.runs[0]!.all.estimate!.mean)
  expect(records(both, "positions.csv")).toHaveLength(26)
  expect(records(both, "differences.csv").filter((row) => row.p_adjusted !== "")).toHaveLength(3)
})

test("evalReport's page and files stay inert whatever a prompt, an answer or a name says", async () => {
  const report = await evalReport([hostileRun(HOSTILE), hostileRun("=1+1,\n")], TASKS)
  expect(report.html.match(/<script[ >]/g)).toHaveLength(3)
  expect(report.html).not.toContain("<img")
  for (const { name, text } of report.charts) {
    expect(name).toMatch(/^[\w-][\w.-]*\.svg$/)
    expect(text).not.toMatch(/<script|<img|NaN|Infinity|undefined/)
  }
  const [first] = records(report, "instances.csv")
  expect(first!.run).toBe(HOSTILE)
  expect(JSON.parse(first!.answer!)).toBe(HOSTILE)
  expect(report.html).toMatch(/Content-Security-Policy" content="default-src 'none'/)
  expect(report.html).not.toMatch(/(src|href)="(?!#|data:,)/)
})

test("evalReport gives whole SVG files without what a page adds", () => {
  expect(both.charts.map(({ name }) => name)).toEqual([
    "latent_list-by-length.svg",
    "niah_single-by-length.svg",
    "niah_single-map-1.svg",
    "niah_single-map-2.svg",
    "niah_single-difference-1.svg",
    "position_loss-by-position.svg",
  ])
  for (const { text } of both.charts) {
    expect(text).toMatch(/^<svg xmlns=.*<style>.*<\/svg>\n$/s)
    expect(text).not.toMatch(/NaN|Infinity|undefined/)
  }
})

test("shownPrompt keeps the ends and what was looked for", () => {
  const text = `${"a".repeat(50_000)}needle${"b".repeat(50_000)}`
  const { shown, parts, length } = shownPrompt(text, ["needle", ""], "elided")
  expect([length, shown.length]).toEqual([100_006, 3])
  expect(parts![1]).toContain("needle")
  expect(shown.map(([from, to]) => text.slice(from, to))).toEqual(parts)
  expect(shownPrompt(text, [], "all")).toMatchObject({
    text,
    shown: [
      [0, 1200],
      [98_806, 100_006],
    ],
  })
  expect(shownPrompt("short", [], "elided")).toEqual({ length: 5, shown: [[0, 5]], text: "short" })
})

test("scoreColors rises evenly in lightness, and text on it reads", () => {
  const color = scoreColors(0, 1)
  const steps = Array.from({ length: 11 }, (_, i) => lightness(color(i / 10)))
  const rises = steps.slice(1).map((each, i) => each - steps[i]!)
  for (const rise of rises) expect(rise).toBeGreaterThan(4)
  for (const rise of rises) expect(rise).toBeLessThan(12)
  for (const pick of [color, differenceColors(1, "higher")]) {
    for (let value = -1; value <= 1; value += 0.05) {
      const y = luminance(pick(value))
      const contrast = inkOn(pick(value)) === "dark" ? (y + 0.05) / 0.05 : 1.05 / (y + 0.05)
      expect(contrast).toBeGreaterThan(4.5)
    }
  }
  expect(differenceColors(1, "lower")(1)).toBe(differenceColors(1, "higher")(-1))
})

test("checkResult names details that a report could not read", () => {
  const line = resultLine({ task: "a", id: "a/0", score: 1 })
  for (const [key, value] of Object.entries({
    refs: "x",
    positions: [{}],
    baselines: [1],
    parts: { a: "b" },
    answer: 1,
  })) {
    expect(() => checkResult({ ...line, [key]: value }, "results.jsonl:3")).toThrow(`results.jsonl:3: ${key} is`)
  }
})

/** Relative luminance (WCAG 2.2) of `rgb(1, 2, 3)`. */
function luminance(color: string): number {
  const linear = color.match(/\d+/g)!.map((value) => {
    const part = Number(value) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * linear[0]! + 0.7152 * linear[1]! + 0.0722 * linear[2]!
}

/** L* of CIE 1976. */
function lightness(color: string): number {
  return 116 * Math.cbrt(luminance(color)) - 16
}
