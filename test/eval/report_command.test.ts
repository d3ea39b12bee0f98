import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Command } from "commander"
import { afterEach, beforeEach, expect, test, vi } from "vitest"
import { define } from "../../cli/eval_report.ts"
import { syntheticRun } from "./report_data.ts"

let home = ""
let stdout = ""
let stderr = ""

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "gemlet-report-"))
  stdout = ""
  stderr = ""
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    stdout += text
    return true
  })
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    stderr += text
    return true
  })
})
afterEach(async () => {
  vi.restoreAllMocks()
  await rm(home, { recursive: true, force: true })
})

/** Puts a made-up run into a folder, with half a line at the end of its results. */
async function runFolder(name: string, skill: number): Promise<string> {
  const { run, lines, prompts } = syntheticRun(name, skill, 1)
  const folder = join(home, name)
  const jsonLines = (all: readonly object[]) => all.map((each) => `${JSON.stringify(each)}\n`).join("")
  await mkdir(folder)
  await writeFile(join(folder, "run.json"), JSON.stringify(run))
  await writeFile(join(folder, "results.jsonl"), `${jsonLines(lines)}{"run": "ba`)
  await writeFile(join(folder, "prompts.jsonl"), jsonLines(prompts))
  return folder
}

function report(...args: string[]): Promise<unknown> {
  const command = new Command("report").exitOverride()
  define(command)
  return command.parseAsync(args, { from: "user" })
}

test("gemlet eval report writes a page, charts and tables, and tells of what it left out", async () => {
  const [base, tuned] = [await runFolder("base", 0.4), await runFolder("tuned", 0.9)]
  const [out, svg, csv] = ["deep/page.html", "charts", "tables"].map((name) => join(home, name)) as [
    string,
    string,
    string,
  ]
  await report(base, tuned, "--out", out, "--svg", svg, "--csv", csv, "--title", "Two of them")
  expect(await readFile(out, "utf8")).toMatch(/<title>Two of them<.*hidden within/s)
  expect(await readdir(svg)).toContain("niah_single-difference-1.svg")
  expect((await readdir(csv)).sort()).toEqual(["differences.csv", "instances.csv", "positions.csv", "scores.csv"])
  expect(stdout).toMatch(/task +metric +base +tuned +tuned - base +p\n/)
  expect(stdout).toContain(`${out}: `)
  expect(stderr).toMatch(/results\.jsonl:133: line is no JSON/)
})

test("gemlet eval report --json prints one object, and --prompts none leaves the prompts out", async () => {
  const out = join(home, "page.html")
  await report(await runFolder("base", 0.4), "--out", out, "--json", "--prompts", "none")
  const { files, runs, tasks, comparisons } = JSON.parse(stdout)
  expect([files, runs, comparisons]).toEqual([[out], ["base"], []])
  expect(tasks.map(({ task }: { task: string }) => task)).toEqual(["latent_list", "niah_single", "position_loss"])
  expect(await readFile(out, "utf8")).not.toContain("hidden within")
})

test("gemlet eval report refuses what is no page's name and no run", async () => {
  const base = await runFolder("base", 0.4)
  await expect(report(base, "--out", join(base, "results.jsonl"))).rejects.toThrow(/^--out: file is .*ends in \.html/)
  await expect(report(home, "--out", join(home, "page.html"))).rejects.toThrow(/run\.json is missing/)
  await expect(report(base, "--prompts", "some")).rejects.toThrow(/^--prompts: value is "some", expected one of all/)
})
