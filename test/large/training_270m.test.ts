import { rm } from "node:fs/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, load } from "../../src/index.ts"
import { Tuning } from "../../src/train/tune.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { writeRandom270m } from "../helpers/random_270m.ts"

describe("LoRA on a checkpoint of Gemma 3 270M's shape", () => {
  let lm: LanguageModel
  let folder = ""

  beforeAll(async () => {
    ;({ folder } = await writeRandom270m())
    lm = await load(folder, { device: testDeviceKind(), context: 64 })
  })
  afterAll(async () => {
    await lm?.dispose()
    await rm(folder, { recursive: true, force: true })
  })

  test("takes the bytes that were predicted, for 512 tokens", async () => {
    const ids = Array.from({ length: 512 }, (_, i) => 7 + ((i * 7919) % 250_000))
    const batches = {
      next: async () => ({ rows: [[{ ids, labels: ids }]] }),
      state: () => null,
      restore() {},
      async *heldOutRows() {},
    }
    const options = {
      steps: 1,
      warmup: 0,
      batch: 1,
      context: 512,
      rank: 8,
      rate: 1e-3,
      recompute: true,
      evaluateEvery: 0,
    }
    const tuning = new Tuning(lm, batches, options)
    const { peak } = await tuning.prepare()
    const losses: number[] = []
    for await (const { loss } of tuning) losses.push(loss!)
    expect(lm.memory.peak / peak).toBeGreaterThan(0.9)
    expect(lm.memory.peak / peak).toBeLessThan(1.1)
    expect(losses[0]).toBeGreaterThan(10)
  }, 900_000)
})
