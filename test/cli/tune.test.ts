import { existsSync, readdirSync, renameSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet } from "./run.ts"
import { expectSuccess, jsonLines, Workplace } from "./training.ts"

const FILES = ["adapter_config.json", "adapter_model.safetensors", "loss.svg", "training.safetensors"]

describe("tune", () => {
  let place: Workplace
  beforeAll(async () => {
    place = await Workplace.make()
  })
  afterAll(() => place.remove())

  test("tune --json prints documented lines and leaves an adapter folder", async () => {
    const lines = jsonLines(await place.tune("json", "--steps", "6", "--json"))
    for (const line of lines) expectDocumented("tune", line, ["settings"])
    const [first, ...rest] = lines
    const last = rest.pop()
    expect(first).toMatchObject({ event: "start", model: place.model, resumedAt: null, settings: { steps: 6 } })
    expect(first.data).toEqual({ records: 22, heldOut: 2, skipped: { count: 0, messages: [] } })
    expect(first.bytes.peak).toBe(first.bytes.held + first.bytes.total)
    expect(rest.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4, 5, 6])
    expect(last).toMatchObject({ event: "end", finished: true, step: 6, out: place.path("json") })
    expect(last.heldOut.before).toBe(rest[0].heldOut)
    expect(last.heldOut.after).toBe(rest.at(-1).heldOut)
    expect(last.heldOut.after).toBeLessThan(last.heldOut.before)
    expect(readdirSync(place.path("json")).sort()).toEqual(FILES)
  })

  test("tune tells people what it takes, how far it is, and how to use the result", async () => {
    const { code, stdout, stderr } = await place.tune("told", "--steps", "2")
    expect(code, stderr).toBe(0)
    for (const row of [/^records +22, and 2 held out$/m, /^gradients +\d/m, /^optimizer +\d/m, /^total +\d/m]) {
      expect(stderr).toMatch(row)
    }
    expect(stderr).toMatch(/^step 0\/2 {2}held-out \d/m)
    expect(stderr).toMatch(
      /^step 1\/2 {2}loss \d+\.\d+ {2}held-out \d+\.\d+ {2}[\d,]+ tokens\/s {2}.* left {2}[\d.]+ MiB$/m,
    )
    expect(stdout).toMatch(/^held-out loss +\d+\.\d+ before, \d+\.\d+ after$/m)
    expect(stdout).toContain(`--model ${place.model} --adapter ${place.path("told")}`)
    expect(stdout).toContain(place.path("told/loss.svg"))
    const again = await gemlet(["tune", "--resume", "--out", place.path("told")])
    expect(expectSuccess(again)).toMatch(/^finished +.* after 2 of 2 steps$/m)
    const other = await place.tune("told", "--steps", "2")
    expectUsageError(other, "gemlet tune", "told is in use", "--resume", "--force")
    expectSuccess(await place.tune("told", "--steps", "1", "--force"))
  })

  test("tune saves at Ctrl-C, and --resume ends with the bits of a run that was never stopped", async () => {
    const options = ["--steps", "12", "--save-every", "100", "--json"]
    const whole = place.tune("whole", ...options)
    const stopped = place.start("stopped", ...options)
    await stopped.until(({ stdout }) => stdout.includes('"step":2,'))
    stopped.interrupt()
    const { code, stdout } = await stopped.result
    const end = JSON.parse(stdout.trimEnd().split("\n").at(-1)!)
    expect(code).toBe(130)
    expect(end).toMatchObject({
      event: "end",
      finished: false,
      resume: `gemlet tune --resume --out ${place.path("stopped")}`,
    })
    expect(end.step).toBeGreaterThanOrEqual(2)
    expect(end.step).toBeLessThan(12)
    const lines = jsonLines(await gemlet(["tune", "--resume", "--out", place.path("stopped"), "--json"]))
    expect(lines[0].resumedAt).toBe(end.step)
    expect(lines[1].step).toBe(end.step + 1)
    expectSuccess(await whole)
    expect(place.read("stopped", "adapter_model.safetensors")).toEqual(place.read("whole", "adapter_model.safetensors"))
  })

  test("tune goes on after kill -9 from its last checkpoint to the same bits", async () => {
    const options = ["--steps", "8", "--save-every", "3", "--json"]
    const whole = place.tune("unkilled", ...options)
    const killed = place.start("killed", ...options)
    await killed.until(({ stdout }) => stdout.includes('"step":4,'))
    killed.process.kill("SIGKILL")
    expect((await killed.result).signal).toBe("SIGKILL")
    const lines = jsonLines(await gemlet(["tune", "--resume", "--out", place.path("killed"), "--json"]))
    expect([3, 6]).toContain(lines[0].resumedAt)
    expectSuccess(await whole)
    expect(place.read("killed", "adapter_model.safetensors")).toEqual(
      place.read("unkilled", "adapter_model.safetensors"),
    )
  })

  test("tune --resume refuses flags that contradict, by name, and runs that are none", async () => {
    const stopped = place.start("kept", "--steps", "50", "--json")
    await stopped.until(({ stdout }) => stdout.includes('"step":1,'))
    stopped.interrupt()
    await stopped.result
    const resume = (...args: string[]) => gemlet(["tune", "--resume", "--out", place.path("kept"), "--json", ...args])
    const other = place.write(
      "other.jsonl",
      '{"text":"Another story."}\n{"text":"And one more."}\n{"text":"The last."}\n',
    )
    const CONTRADICTIONS: [args: string[], text: string][] = [
      [["--lr", "1"], "--lr: value is 1, expected 0.01 as when the run began"],
      [["--rank", "2"], "--rank: value is 2, expected 4 as"],
      [["--optimizer", "sgd"], '--optimizer: value is "sgd", expected "adamw" as'],
      [["--steps", "60"], "--steps: value is 60, expected 50 as"],
      [["--skip-bad"], "--skip-bad: value is true, expected false as"],
      [["--held-out", "3"], "--held-out: value is 3, expected 2 as"],
      [["--data", other], "--data: value is "],
    ]
    for (const [args, text] of CONTRADICTIONS) {
      const { code, stderr } = await resume(...args)
      expect(stderr).toContain(`gemlet tune: ${text}`)
      expect(code).toBe(2)
    }
    const none = await gemlet(["tune", "--resume", "--out", place.path("nowhere")])
    expectUsageError(none, "gemlet tune", "training.safetensors is missing, expected it to resume a run")
  })

  test("tune names a malformed line by its file and number, and --skip-bad counts it", async () => {
    const text = String(place.read("stories.jsonl"))
    const bad = place.write("bad.jsonl", text.replace("\n", '\n{"text": oops}\n'))
    const refused = await place.tune("bad", "--data", bad, "--steps", "1")
    expectUsageError(refused, "gemlet tune", `${bad}:2: text is malformed, expected JSON`)
    expect(existsSync(place.path("bad"))).toBe(false)
    const [{ data }] = jsonLines(await place.tune("skipped", "--data", bad, "--skip-bad", "--steps", "1", "--json"))
    expect(data.records).toBe(46)
    expect(data.skipped).toEqual({ count: 1, messages: [expect.stringContaining(`${bad}:2: `)] })
  })

  test("tune refuses what does not fit, and runs with the flags that it names", async () => {
    const limit = ["--memory-limit", "3MiB", "--steps", "1", "--batch", "4", "--context", "64"]
    const refused = await place.tune("tight", ...limit)
    expectUsageError(refused, "gemlet tune", "on the GPU, expected at most 3.0 MiB (what would fit: --recompute ")
    const [, advice] = /what would fit: ([^)]+)/.exec(refused.stderr)!
    expectSuccess(await place.tune("tight", ...limit, ...advice!.split(" ")))
  })

  test("tune ends with 1 and no usage line when the loss is not finite", async () => {
    const { code, stderr } = await place.tune("diverged", "--lr", "1e30", "--clip", "0", "--steps", "3")
    expect(stderr).toMatch(/^gemlet tune: step \d: .*loss is .*, expected a finite number/m)
    expect(stderr).not.toContain("usage:")
    expect(code).toBe(1)
  })

  test("tune ends with 1 when its files can no longer be written, and says where the run is kept", async () => {
    const running = place.start("gone", "--steps", "500", "--save-every", "1", "--json")
    await running.until(({ stdout }) => stdout.includes('"step":1,'))
    renameSync(place.path("gone"), place.path("moved"))
    const file = place.write("gone", "")
    const { code, stderr } = await running.result
    expect(stderr).toMatch(/^gemlet tune: E[A-Z]+: .* holds the run as it was after step \d+\)/m)
    expect(stderr).toContain(`go on from there with gemlet tune --resume --out ${file}`)
    expect(stderr).not.toContain("usage:")
    expect(code).toBe(1)
  })

  test("tune --method lamda leaves an adapter, and --method full a model that loads", async () => {
    const lamda = await place.tune("lamda", "--steps", "2", "--method", "lamda", "--eta", "0.5", "--spectrum", "2:6")
    expect(expectSuccess(lamda)).toContain(`--adapter ${place.path("lamda")}`)
    const short = ["--batch", "2", "--context", "24", "--steps", "2", "--lr", "0.01"]
    const from = ["--model", place.model, "--data", place.data, "--out", place.path("full")]
    const full = await gemlet(["tune", ...from, ...short, "--method", "full", ...DEVICE])
    expect(expectSuccess(full)).toContain(`--model ${place.path("full")}`)
    const generate = (model: string) => gemlet(["generate", "--model", model, ...DEVICE, "Once", "--greedy", "-n", "8"])
    const [tuned, base] = await Promise.all([generate(place.path("full")), generate(place.model)])
    expect(expectSuccess(tuned)).not.toBe(expectSuccess(base))
  })

  test("tune refuses what is wrong before it loads anything", async () => {
    const file = place.write("file", "")
    const WRONG: [args: string[], ...texts: string[]][] = [
      [["--rank", "0"], `--rank: value is "0", expected a whole number from 1`],
      [["--method", "qlora"], `--method: value is "qlora", expected one of lora, lamda, full`],
      [["--method", "full"], "--rank: is given with --method full, expected --method lora or lamda"],
      [["--eta", "0.5"], "--eta: is given with --method lora, expected --method lamda"],
      [["--momentum", "0.5"], "--momentum: is given with --optimizer adamw, expected --optimizer sgd"],
      [["--rank-pattern", "q_proj"], `--rank-pattern: value is "q_proj", expected one such as q_proj=16`],
      [["--spectrum", "8:4"], `--spectrum: value is "8:4", expected two ranks such as 4:16`],
      [["--memory-limit", "much"], `--memory-limit: value is "much", expected bytes such as 6GiB`],
      [["--held-out", "1.5"], `--held-out: value is "1.5", expected a number of records, a share below 1 or a file`],
      [["--data", place.path("none.jsonl")], "none.jsonl: file is missing"],
      [["--out", `${file}/adapter`], `--out: ${file} is a file, expected a folder`],
      [["--out", place.model], `--out: ${place.model} is read from, expected another folder`],
      [["--out", place.model, "--force"], `--out: ${place.model} is read from`],
    ]
    await Promise.all(
      WRONG.map(async ([args, ...texts]) =>
        expectUsageError(await place.tune("wrong", ...args), "gemlet tune", ...texts),
      ),
    )
    expectUsageError(await gemlet(["tune"]), "gemlet tune", "--data: is missing")
    const long = await place.tune("wrong", "--context", "200")
    expectUsageError(long, "gemlet tune", "--context: value is 200, expected a whole number from 2 to 128")
    expect(existsSync(place.path("wrong"))).toBe(false)
  })

  test("tune --help has its options in groups, with examples", async () => {
    const { stdout } = await gemlet(["tune", "--help"])
    for (const text of ["Data:", "Method:", "Training:", "Memory:", "--rows-at-once", "--json", "Examples:"]) {
      expect(stdout).toContain(text)
    }
  })
})
