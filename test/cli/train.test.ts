import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json, start } from "./run.ts"
import { CONFIG, expectSuccess, jsonLines, Workplace } from "./training.ts"

describe("train", () => {
  let place: Workplace
  beforeAll(async () => {
    place = await Workplace.make()
  })
  afterAll(() => place.remove())

  function args(out: string, ...more: string[]): string[] {
    const short = ["--batch", "2", "--context", "24", "--held-out", "2"]
    return [
      "train",
      "--config",
      place.config,
      "--data",
      place.data,
      "--out",
      place.path(out),
      ...short,
      ...DEVICE,
      ...more,
    ]
  }

  test("train makes a model from a config that every command loads", async () => {
    const lines = jsonLines(await gemlet(args("tiny", "--steps", "3", "--json")))
    for (const line of lines) expectDocumented("train", line, ["settings"])
    expect(lines[0].settings).toMatchObject({
      method: "full",
      rate: 2e-3,
      optimizer: { weightDecay: 0.1, betas: [0.9, 0.95] },
    })
    expect(lines[0].parameters.trained).toBe(lines[0].parameters.total)
    expect(lines.at(-1).heldOut.after).toBeLessThan(lines.at(-1).heldOut.before)
    const model = ["--model", place.path("tiny")]
    const [answer, report] = await Promise.all([
      gemlet(["generate", ...model, ...DEVICE, "Once", "--greedy", "--ignore-eos", "-n", "4", "--json"]),
      gemlet(["inspect", ...model, "--json"]),
    ])
    expect(json(answer).tokens.length).toBe(4)
    expect(json(report).weights.byDtype).toHaveProperty("F32")
    expect(json(report).config.hiddenSize).toBe(CONFIG.hidden_size)
  })

  test("train saves at Ctrl-C, and --resume ends with the bits of a run that was never stopped", async () => {
    const options = ["--steps", "10", "--save-every", "100", "--json"]
    const whole = gemlet(args("whole", ...options))
    const stopped = start(args("stopped", ...options))
    await stopped.until(({ stdout }) => stdout.includes('"step":2,'))
    stopped.interrupt()
    expect((await stopped.result).code).toBe(130)
    const resumed = await gemlet(["train", "--resume", "--out", place.path("stopped")])
    expect(expectSuccess(resumed)).toContain(`gemlet generate "Once upon a time" --model ${place.path("stopped")}`)
    expectSuccess(await whole)
    expect(place.read("stopped", "model.safetensors")).toEqual(place.read("whole", "model.safetensors"))
  })

  test("train refuses configs that cannot be, and a vocabulary that does not hold the tokenizer's", async () => {
    const small = place.write("small.json", JSON.stringify({ ...CONFIG, vocab_size: 1000 }))
    const malformed = place.write("malformed.json", "{")
    const list = place.write("list.json", "[]")
    const WRONG: [config: string, text: string][] = [
      [small, "vocab_size is 1000, expected at least 4096"],
      [malformed, "malformed.json: text is malformed, expected JSON"],
      [list, "list.json: content is something else, expected an object"],
      [place.path("none.json"), "none.json: no such file"],
    ]
    await Promise.all(
      WRONG.map(async ([config, text]) =>
        expectUsageError(await gemlet(args("wrong", "--config", config)), "gemlet train", text),
      ),
    )
    expectUsageError(await gemlet(["train", "--data", place.data]), "gemlet train", "--config: is missing")
    const bare = await gemlet(args("wrong", "--tokenizer", place.home))
    expectUsageError(bare, "gemlet train", "tokenizer.json is missing")
  })

  test("train --help lists its options, with examples", async () => {
    const { stdout } = await gemlet(["train", "--help"])
    for (const text of ["--config", "--tokenizer", "--json", "(default: 0.002)", "Examples:"])
      expect(stdout).toContain(text)
    expect(stdout).not.toContain("--rank")
  })
})
