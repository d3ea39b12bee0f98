import { existsSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json } from "./run.ts"
import { expectSuccess, Workplace } from "./training.ts"

describe("merge", () => {
  let place: Workplace
  beforeAll(async () => {
    place = await Workplace.make()
    expectSuccess(await place.tune("adapter", "--steps", "4"))
  })
  afterAll(() => place.remove())

  function merge(...args: string[]) {
    return gemlet(["merge", "--model", place.model, ...args])
  }

  async function tokens(model: string, ...adapters: string[]): Promise<number[]> {
    const on = adapters.flatMap((adapter) => ["--adapter", adapter])
    const args = ["--greedy", "--ignore-eos", "-n", "10", "Once there", "--json"]
    return json(await gemlet(["generate", "--model", model, ...on, ...DEVICE, ...args])).tokens
  }

  test("merge writes a checkpoint that answers as the model with the adapter does", async () => {
    const adapter = place.path("adapter")
    const merged = json(await merge("--adapter", adapter, "--out", place.path("merged"), "--json"))
    expectDocumented("merge", merged)
    expect(merged).toMatchObject({ model: place.model, adapters: [adapter], out: place.path("merged") })
    expect(merged.bytes).toBe(place.read("merged", "model.safetensors").byteLength)
    const [base, adapted, alone] = await Promise.all([
      tokens(place.model),
      tokens(place.model, adapter),
      tokens(place.path("merged")),
    ])
    expect(adapted).not.toEqual(base)
    expect(alone).toEqual(adapted)
  })

  test("merge adds up several adapters", async () => {
    const adapter = place.path("adapter")
    const { stdout } = await merge("--adapter", adapter, "--adapter", adapter, "--out", place.path("twice"))
    expect(stdout).toContain(`for gemlet generate --model ${place.path("twice")}`)
    const [both, alone] = await Promise.all([tokens(place.model, adapter, adapter), tokens(place.path("twice"))])
    expect(alone).toEqual(both)
  })

  test("merge refuses the model's own folder, and one in use without --force", async () => {
    const adapter = place.path("adapter")
    const own = await merge("--adapter", adapter, "--out", place.model, "--force")
    expectUsageError(own, "gemlet merge", `--out: ${place.model} is read from, expected another folder`)
    const used = place.write("used", "")
    expectUsageError(await merge("--adapter", adapter, "--out", used), "gemlet merge", "is a file, expected a folder")
    expectUsageError(await merge("--adapter", adapter, "--out", place.home), "gemlet merge", "is in use", "--force")
    expectUsageError(await merge("--adapter", adapter, "--out", adapter), "gemlet merge", "is read from")
    expectUsageError(await merge("--out", place.path("x")), "gemlet merge", "--adapter: is missing")
    expectUsageError(await merge("--adapter", adapter), "gemlet merge", "--out: is missing")
    const none = await merge("--adapter", place.model, "--out", place.path("x"))
    expectUsageError(none, "gemlet merge", "adapter_config.json is missing")
    expect(existsSync(place.path("x"))).toBe(false)
  })

  test("merge --force writes into a folder in use", async () => {
    const out = place.path("again")
    expectSuccess(await merge("--adapter", place.path("adapter"), "--out", out))
    expectSuccess(await merge("--adapter", place.path("adapter"), "--out", out, "--force"))
  })
})
