import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json, start } from "./run.ts"

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gemlet-cli-eval-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Parts of what --json tells that docs/cli.md describes as a whole. */
const OPEN = ["all", "byLength", "byPlace", "positions", "parts", "troubles"].map((name) => `tasks[].${name}`)
const NEEDLES = ["niah_magic", "--lengths", "160,192", "--depths", "0:100:50", "--samples", "1"]

function evaluate(...args: string[]) {
  return gemlet(["eval", ...args, ...DEVICE])
}

/** Results of a folder, without what they took. */
function results(name: string): { id: string; score: number; answer: string }[] {
  const lines = readFileSync(join(folder, name), "utf8").trim().split("\n")
  const all = lines.map((line) => JSON.parse(line)).map(({ id, score, answer }) => ({ id, score, answer }))
  return all.sort((a, b) => (a.id < b.id ? -1 : 1))
}

describe("eval", () => {
  test("runs tasks, keeps what comes, and prints one documented object", async () => {
    const out = join(folder, "whole")
    const value = json(await evaluate(...NEEDLES, "--out", out, "--json"))
    expectDocumented("eval", value, ["identity", "data", ...OPEN])
    expect(value.tasks).toMatchObject([{ task: "niah_magic", metric: "recall" }])
    expect(value.tasks[0].byLength.map((place: { length: number }) => place.length)).toEqual([160, 192])
    expect(value.identity.model.hash).toMatch(/^[0-9a-f]{64}$/)
    expect(results("whole/results.jsonl")).toHaveLength(6)
    const again = await evaluate(...NEEDLES, "--out", out)
    expect(again.code, again.stderr).toBe(0)
    expect(again.stdout).toMatch(/^task +length +n +mean.*\nniah_magic +160 +3 /m)
    expect(results("whole/results.jsonl")).toHaveLength(6) // nothing was done twice
  })

  test("goes on after kill -9, with the same results", async () => {
    const out = join(folder, "killed")
    const running = start(["eval", ...NEEDLES, "--out", out, ...DEVICE])
    const file = join(out, "results.jsonl")
    const lines = () => {
      try {
        return readFileSync(file, "utf8").split("\n").length - 1
      } catch {
        return 0
      }
    }
    await running.until(() => lines() >= 2)
    running.process.kill("SIGKILL")
    await running.result
    const before = lines()
    writeFileSync(file, readFileSync(file, "utf8").slice(0, -30)) // as if it had been in the middle of a line
    const rest = await evaluate(...NEEDLES, "--out", out)
    expect(rest.code, rest.stderr).toBe(0)
    expect(rest.stderr).toContain(`results.jsonl:${before}: line is cut`)
    expect(results("killed/results.jsonl")).toEqual(results("whole/results.jsonl"))
  })

  test("in shards is the same when they are merged, and a report is made of it", async () => {
    const shared = join(folder, "shared")
    for (const shard of ["1/2", "2/2"]) {
      const part = await evaluate(...NEEDLES, "--out", shared, "--shard", shard)
      expect(part.code, part.stderr).toBe(0)
    }
    const merged = await gemlet(["eval", "merge", shared, "--out", join(folder, "merged")])
    expect(merged.stdout).toMatch(/6 results of run [0-9a-f]{16}/)
    expect(results("merged/results.jsonl")).toEqual(results("whole/results.jsonl"))
    const page = join(folder, "report.html")
    const report = await gemlet(["eval", "report", shared, join(folder, "whole"), "--out", page])
    expect(report.code, report.stderr).toBe(0)
    expect(readFileSync(page, "utf8")).toContain("niah_magic")
  })

  test("tells tasks and suites", async () => {
    const { stdout } = await gemlet(["eval", "list"])
    for (const name of ["niah_single", "mrcr_8", "latent_list", "position_loss", "ruler"])
      expect(stdout).toContain(name)
    const { tasks, suites } = json(await gemlet(["eval", "list", "--json"]))
    expect(tasks.length).toBeGreaterThan(15)
    expect(Object.keys(suites)).toContain("small")
  })

  test("runs a suite of a file, what is given before what it says", async () => {
    const file = join(folder, "mine.json")
    const tasks = [{ task: "niah_magic", lengths: [160], depths: [0, 50], samples: 1 }, { task: "lambada" }]
    writeFileSync(file, JSON.stringify({ summary: "mine", tasks }))
    const value = json(await evaluate("suite", file, "--samples", "1", "--json"))
    const counts = value.tasks.map(({ task, all }: { task: string; all: { estimate: { count: number } } }) => {
      return [task, all.estimate.count]
    })
    expect(counts).toEqual([
      ["lambada", 1],
      ["niah_magic", 2],
    ])
    writeFileSync(file, JSON.stringify({ tasks: [{ task: "niah_magic", length: [1] }] }))
    expectUsageError(await evaluate("suite", file), "gemlet eval suite", 'tasks[0]: key is "length"')
    expectUsageError(await evaluate("suite", "none"), "gemlet eval suite", 'is "none", expected a file or one of')
  })

  test("writes instances to learn from", async () => {
    const out = join(folder, "needles.jsonl")
    const args = ["write", "niah_magic", "--lengths", "160", "--depths", "50", "--samples", "3", "--out", out]
    const { code, stderr } = await evaluate(...args)
    expect(code, stderr).toBe(0)
    const records = readFileSync(out, "utf8").trim().split("\n")
    const { prompt, completion } = JSON.parse(records[0]!)
    expect(records).toHaveLength(3)
    expect(completion).toMatch(/^ \d{7}$/)
    expect(prompt).toContain(completion)
    expectUsageError(await evaluate("write", "blimp", "--out", out), "gemlet eval write", "expected answer")
    expect(readFileSync(out, "utf8").trim().split("\n")).toEqual(records) // a failure leaves what was there
  })

  test.each([
    ["no such task", ["needles"], 'task: is "needles", expected one of niah_single'],
    ["a length that is none", ["niah", "--lengths", "1x"], '--lengths: length is "1x", expected tokens'],
    ["a length beyond the model's limit", ["niah_magic", "--lengths", "64k"], "65536"],
    [
      "a length beyond the context",
      ["niah_magic", "--lengths", "512", "--context", "256"],
      "length is 512, expected at most 256",
    ],
    ["depths that are none", ["niah", "--depths", "0:200:10"], "--depths: is "],
    ["a shard that is none", ["niah", "--shard", "3/2"], '--shard: is "3/2", expected i/n'],
    ["data that are not there", ["ruler_file"], "ruler.jsonl is missing"],
  ])("refuses %s", async (_, args, message) => {
    expectUsageError(await evaluate(...args), "gemlet eval", message)
  })

  test("refuses a folder with results of another run, and one that is none", async () => {
    const out = join(folder, "whole")
    expectUsageError(await evaluate(...NEEDLES, "--out", out, "--seed", "5"), "gemlet eval", "seed is 5, expected 0")
    expectUsageError(await gemlet(["eval", "report", folder]), "gemlet eval report", "run.json is missing")
  })
})
