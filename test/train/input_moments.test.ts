import { afterAll, beforeAll, expect, test } from "vitest"
import { inputMoments, type LanguageModel, load, type Moments, momentsOnDemand } from "../../src/index.ts"
import { internals } from "../../src/session.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { CONFIG, IDS, randomModel } from "../helpers/quantized_models.ts"

let lm: LanguageModel
const TEXTS = [IDS, [], IDS.slice(3, 9), [5]]
const { hidden_size: C, intermediate_size: F } = CONFIG // the heads together are as wide as C

beforeAll(async () => {
  lm = await load(await randomModel(), { device: testDeviceKind(), context: 64 })
})
afterAll(() => lm?.dispose())

/** The most that sums take on the GPU while all moments are asked for, in the order of the weights. */
async function mostSummed(moments: Moments, paths: Iterable<string>): Promise<number> {
  const { device } = internals(lm).model
  const matrix = device.matrix.bind(device)
  let most = 0
  device.matrix = (...args) => {
    const made = matrix(...args)
    most = Math.max(most, device.memory.training)
    return made
  }
  for (const path of paths) await moments.get(path)
  device.matrix = matrix
  return most
}

test("momentsOnDemand gives what inputMoments does to the bit, however many passes it takes", async () => {
  const all = await inputMoments(lm, TEXTS)
  expect([...all.keys()].length).toBe(7 * CONFIG.num_hidden_layers + 1)
  for (const bytes of [1, 8 * C * C]) {
    const moments = momentsOnDemand(lm, TEXTS, { bytes })
    for (const [path, moment] of all) expect(await moments.get(path), path).toEqual(moment)
    // Whoever asks for all at once may have it computed more than once, but gets the same.
    expect(await Promise.all([...all.keys()].map((path) => moments.get(path)))).toEqual([...all.values()])
  }
  const none = momentsOnDemand(lm, TEXTS)
  expect([none.has("model.norm"), none.get("model.norm")]).toEqual([false, undefined])
  expect(() => momentsOnDemand(lm, [[]])).toThrow("inputMoments: sequences have 0 tokens, expected at least 1")
  const nowhere = () => momentsOnDemand(lm, TEXTS, { bytes: -1 })
  expect(nowhere).toThrow(new RangeError("inputMoments: bytes is -1, expected a number from 0 on"))
})

test("momentsOnDemand sums as many inputs at once as there is room for beside the largest", async () => {
  const paths = [...(await inputMoments(lm, TEXTS)).keys()]
  const most = (bytes: number) => mostSummed(momentsOnDemand(lm, TEXTS, { bytes }), paths)
  const [small, large] = [4 * C * C, 4 * F * F]
  expect(await most(1)).toBe(large)
  expect(await most(2 * small)).toBe(2 * small + large)
  // The head; in each of two layers that of q, k and v, that of o, that of gate and up, and the wide one of down.
  expect(await most(1e6)).toBe(7 * small + 2 * large)
  expect(lm.memory.training).toBe(0)
})

test("momentsOnDemand stops where a signal says so, and leaves the model as it was", async () => {
  const before = lm.memory.total
  const controller = new AbortController()
  const moments = momentsOnDemand(lm, TEXTS, { signal: controller.signal })
  controller.abort()
  await expect(moments.get("model.embed_tokens")).rejects.toThrow(/abort/)
  expect(lm.memory.total).toBe(before)
  expect([...internals(lm).model.network.linears.values()].some(({ observe }) => observe)).toBe(false)
  expect((await inputMoments(lm, TEXTS)).size).toBe(7 * CONFIG.num_hidden_layers + 1)
})
