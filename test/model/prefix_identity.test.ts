import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Device } from "../../src/kernels/device.ts"
import { type Checkpoint, openCheckpoint } from "../../src/model/checkpoint.ts"
import { hashReads } from "../../src/model/prefix_identity.ts"
import { memorySource } from "../../src/model/source.ts"
import { uploadWeights } from "../../src/model/upload.ts"
import { openTestDevice } from "../helpers/device.ts"
import { randomCheckpoint } from "../helpers/random_checkpoint.ts"

let device: Device
beforeAll(async () => {
  device = await openTestDevice()
})
afterAll(() => device?.dispose())

async function digestOf(opened: Checkpoint): Promise<string> {
  const { checkpoint, digest } = hashReads(opened)
  await uploadWeights(device, checkpoint)
  return digest()
}

/** A checkpoint one of whose weights has one bit changed. */
async function changed(field: string): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(await randomCheckpoint())
  const weight = checkpoint.weights.get(field)!
  const bytes = new Uint8Array(await weight.source.slice(0, weight.source.byteLength))
  bytes[weight.info.end - 1]! ^= 1
  return {
    ...checkpoint,
    weights: new Map([...checkpoint.weights, [field, { ...weight, source: memorySource(bytes) }]]),
  }
}

describe("hashReads", () => {
  test("gives the same for the same weights, and another for one bit or one key of the config", async () => {
    const digests = [
      await digestOf(await openCheckpoint(await randomCheckpoint())),
      await digestOf(await changed("embedding")),
      await digestOf(await changed("layers.1.attention.k")),
      await digestOf(await changed("norm")),
      await digestOf(await openCheckpoint(await randomCheckpoint({ rope_local_base_freq: 5000 }))),
    ]
    expect(await digestOf(await openCheckpoint(await randomCheckpoint()))).toBe(digests[0])
    expect(new Set(digests).size).toBe(digests.length)
    for (const digest of digests) expect(digest).toMatch(/^[0-9a-f]{64}$/)
  })

  test("does not speak for weights that nobody has read", async () => {
    const { checkpoint, digest } = hashReads(await openCheckpoint(await randomCheckpoint()))
    await expect(digest()).rejects.toThrow(/prefix: embedding was not read, expected every weight to be/)
    for (const { source, info } of checkpoint.weights.values()) await source.slice(info.start, info.end)
    expect(await digest()).toMatch(/^[0-9a-f]{64}$/)
  })
})
