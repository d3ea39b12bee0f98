import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { fixture } from "../helpers/golden.ts"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json } from "./run.ts"
import { expectSuccess, Workplace } from "./training.ts"

describe("--adapter", () => {
  let place: Workplace
  let adapter = ""
  beforeAll(async () => {
    place = await Workplace.make()
    adapter = place.path("adapter")
    expectSuccess(await place.tune("adapter", "--steps", "4", "--rank-pattern", "q_proj=2"))
  })
  afterAll(() => place.remove())

  function on(command: string, ...args: string[]) {
    return gemlet([command, "--model", place.model, ...DEVICE, ...args])
  }

  test("generate with an adapter answers otherwise, and names it in --json", async () => {
    const args = ["Once there", "--greedy", "--ignore-eos", "-n", "8", "--json"]
    const [base, adapted] = await Promise.all([on("generate", ...args), on("generate", ...args, "--adapter", adapter)])
    expectDocumented("generate", json(adapted))
    expect(json(base).adapters).toEqual([])
    expect(json(adapted).adapters).toEqual([adapter])
    expect(json(adapted).tokens).not.toEqual(json(base).tokens)
  })

  test("score is better with the adapter on its stories, and several adapters add up", async () => {
    const story = "Once there was a cat who liked to sing. The end."
    const score = (...args: string[]) => on("score", story, "--json", ...args)
    const [base, one, two] = await Promise.all([
      score(),
      score("--adapter", adapter),
      score("--adapter", adapter, "--adapter", adapter),
    ])
    expectDocumented("score", json(two))
    expect(json(one).loss).toBeLessThan(json(base).loss - 0.5)
    expect(json(two).adapters).toEqual([adapter, adapter])
    expect(json(two).loss).not.toBe(json(one).loss)
    expect(json(two).memory.total).toBeGreaterThan(json(one).memory.total)
  })

  test("chat takes an adapter", async () => {
    const args = ["chat", "--model", place.model, ...DEVICE, "--greedy", "-n", "4", "--ignore-eos", "--json"]
    const [base, adapted] = await Promise.all([
      gemlet(args, { input: "Once\n" }),
      gemlet([...args, "--adapter", adapter], { input: "Once\n" }),
    ])
    expectDocumented("chat", json(adapted))
    expect(json(adapted).adapters).toEqual([adapter])
    expect(json(adapted).tokens).not.toEqual(json(base).tokens)
  })

  test("inspect describes an adapter", async () => {
    const args = ["inspect", "--model", place.model, "--adapter", adapter]
    const report = json(await gemlet([...args, "--json"]))
    expectDocumented("inspect", report, ["config", "weights.byDtype", "sampling", "adapters[].config"])
    const [described] = report.adapters
    expect(described).toMatchObject({ adapter, config: { rank: 4, alpha: 8, rankPattern: { q_proj: 2 } } })
    expect(described.bytes).toBe(place.read("adapter", "adapter_model.safetensors").byteLength)
    expect(described.modules.length).toBe(2 * 7)
    const q = described.modules.find(({ name }: { name: string }) => name.endsWith("layers.0.self_attn.q_proj"))
    expect(q).toMatchObject({ rank: 2, scale: 4, in: 32, out: 32, parameters: 2 * 64 })
    const { stdout } = await gemlet(args)
    expect(stdout).toContain(`Adapter ${adapter}`)
    expect(stdout).toMatch(/^ {2}rank +2 to 4$/m)
    expect(stdout).toMatch(/^ {2}modules +14: .*q_proj/m)
  })

  test("an adapter that is none, or of another model, is refused by name", async () => {
    const none = await on("generate", "Once", "--adapter", place.model)
    expectUsageError(none, "gemlet generate", `${place.model}: adapter_config.json is missing`)
    const missing = await on("score", "Once", "--adapter", place.path("nothing"))
    expectUsageError(missing, "gemlet score", "nothing: no such folder")
    const other = ["--model", fixture("stories260K"), "--adapter", adapter, ...DEVICE]
    expectUsageError(await gemlet(["generate", "Once", ...other]), "gemlet generate", "adapter: ")
    expectUsageError(await gemlet(["inspect", "--adapter", place.model]), "gemlet inspect", "adapter_config.json")
  })
})
