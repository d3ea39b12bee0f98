import { readdirSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { teacherFolder, writeFolder } from "../helpers/teachers.ts"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json, start } from "./run.ts"
import { expectSuccess, jsonLines, Workplace } from "./training.ts"

const FILES = ["adapter_config.json", "adapter_model.safetensors", "loss.svg", "training.safetensors"]
const SHORT = ["--steps", "6", "--batch", "2", "--lr", "0.003"]
const ROWS = ["--context", "24", "--held-out", "2"]

let place: Workplace
let teacher: string

beforeAll(async () => {
  place = await Workplace.make()
  teacher = place.path("teacher")
  await writeFolder(await teacherFolder({ max_position_embeddings: 128 }), teacher)
})
afterAll(() => place.remove())

function distillArgs(out: string, ...more: string[]): string[] {
  return ["distill", "--student", place.model, "--out", place.path(out), ...SHORT, ...DEVICE, ...more]
}

function live(out: string, ...more: string[]): string[] {
  return distillArgs(out, "--teacher", teacher, "--data", place.data, ...ROWS, ...more)
}

function teachArgs(file: string, ...more: string[]): string[] {
  const what = ["--model", teacher, "--data", place.data, ...ROWS, "--temperature", "2"]
  return ["teach", ...what, "--out", place.path(file), ...DEVICE, ...more]
}

describe("distill", () => {
  test("distill --json prints documented lines and leaves an adapter folder", async () => {
    const options = ["--kind", "jsd", "--beta", "0.3", "--mix", "0.5", "--top-k", "8", "--json"]
    const lines = jsonLines(await gemlet(live("json", ...options)))
    for (const line of lines) expectDocumented("distill", line, ["settings"])
    const [first, ...rest] = lines
    const last = rest.pop()
    expect(first).toMatchObject({ event: "start", model: place.model, resumedAt: null, settings: { steps: 6 } })
    expect(first.data).toEqual({ records: 22, heldOut: 2, skipped: { count: 0, messages: [] } })
    expect(rest.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4, 5, 6])
    expect(last).toMatchObject({ event: "end", finished: true, step: 6 })
    expect(last.use).toBe(`gemlet generate "Once upon a time" --model ${place.model} --adapter ${place.path("json")}`)
    expect(readdirSync(place.path("json")).sort()).toEqual(FILES)
  })

  test("distill saves at Ctrl-C, and --resume ends with the bits of a run that was never stopped", async () => {
    const options = ["--save-every", "100", "--json", "--steps", "12"]
    const whole = gemlet(live("whole", ...options))
    const stopped = start(live("stopped", ...options))
    await stopped.until(({ stdout }) => stdout.includes('"step":2,'))
    stopped.interrupt()
    const { code, stdout } = await stopped.result
    expect(code).toBe(130)
    const { step, resume } = JSON.parse(stdout.trimEnd().split("\n").at(-1)!)
    expect(resume).toBe(`gemlet distill --resume --out ${place.path("stopped")}`)
    const again = ["distill", "--resume", "--out", place.path("stopped"), "--json"]
    expectUsageError(
      await gemlet([...again, "--mix", "0.5"]),
      "gemlet distill",
      "--mix: value is 0.5, expected 1 as when the run began",
    )
    expect(jsonLines(await gemlet(again))[0].resumedAt).toBe(step)
    expectSuccess(await whole)
    expect(place.read("stopped", "adapter_model.safetensors")).toEqual(place.read("whole", "adapter_model.safetensors"))
  })

  test("distill names what is missing and what does not go together", async () => {
    const refused = async (args: string[], ...texts: string[]) =>
      expectUsageError(await gemlet(args), "gemlet distill", ...texts)
    await Promise.all([
      refused(distillArgs("none", "--data", place.data), "--teacher: is missing, expected it, or --cache"),
      refused(distillArgs("none", "--teacher", teacher), "--data: is missing, expected it, or --cache"),
      refused(live("none", "--cache", "file"), "--teacher: is given with --cache, expected one of them"),
      refused(live("none", "--mix", "2"), '--mix: value is "2", expected a number from 0 to 1'),
      refused(live("none", "--beta", "0.3"), "--beta: is given, expected it with --kind jsd"),
      refused(live("none", "--over", "tail"), "--over: is tail without --top-k, expected --top-k with it"),
      refused(live("none", "--kind", "jsd", "--top-k", "4", "--over", "full"), "--over: value is full with jsd"),
      refused(distillArgs("none", "--cache", place.data), "stories.jsonl: header"),
      refused(distillArgs("none", "--cache", place.path("nothing")), "nothing: file is missing"),
    ])
    expect(readdirSync(place.home)).not.toContain("none")
  })
})

describe("teach", () => {
  test("teach --json prints a documented object, and distill --cache learns from the file", async () => {
    const written = json(await gemlet(teachArgs("t.safetensors", "--k", "8", "--json")))
    expectDocumented("teach", written)
    expect(written).toMatchObject({ model: teacher, out: place.path("t.safetensors"), mode: "topk", heldOutRows: 2 })
    expect(written.bytes).toBe(place.read("t.safetensors").length)
    const options = ["--cache", place.path("t.safetensors"), "--method", "full", "--json"]
    const [first, ...rest] = jsonLines(await gemlet(distillArgs("cached", ...options)))
    expect(first.data).toEqual({ records: written.rows, heldOut: 2, skipped: { count: 0, messages: [] } })
    expect(first.settings).toMatchObject({ context: 24, method: "full" })
    expect(rest.at(-2).loss).toBeLessThan(rest[1].loss)
    expect(rest.at(-1).use).toBe(`gemlet generate "Once upon a time" --model ${place.path("cached")}`)
    const wrong = distillArgs("wrong", "--cache", place.path("t.safetensors"), "--temperature", "1")
    expectUsageError(await gemlet(wrong), "gemlet distill", "--temperature: value is 1, expected 2 as in")
  })

  test("teach tells people what it writes, and writes over nothing unasked", async () => {
    const { code, stdout, stderr } = await gemlet(teachArgs("told.safetensors", "--mode", "count", "--k", "16"))
    expect(code, stderr).toBe(0)
    for (const row of [/^records +22$/m, /^rows +\d+, and 2 held out$/m, /^file +[\d.]+ KiB$/m]) {
      expect(stderr).toMatch(row)
    }
    expect(stderr).toMatch(/^row \d+\/\d+ {2}[\d,]+ tokens\/s {2}.* left$/m)
    expect(stdout).toContain(`gemlet distill --cache ${place.path("told.safetensors")}`)
    const again = await gemlet(teachArgs("told.safetensors"))
    expectUsageError(again, "gemlet teach", "told.safetensors is there already, expected a new file (--force")
    expectSuccess(await gemlet(teachArgs("told.safetensors", "--force", "--k", "1")))
  })

  test("teach leaves nothing when Ctrl-C comes", async () => {
    const many = place.write("many.jsonl", String(place.read("stories.jsonl")).repeat(50))
    const before = readdirSync(place.home)
    const running = start(teachArgs("cut.safetensors", "--rows-at-once", "1", "--data", many))
    await running.until(({ stderr }) => /^file /m.test(stderr))
    running.interrupt()
    expect((await running.result).code).toBe(130)
    expect(readdirSync(place.home)).toEqual(before)
  })
})
