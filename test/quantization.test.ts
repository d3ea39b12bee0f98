import { describe, expect, test } from "vitest"
import {
  divergence,
  inputMoments,
  memoryFolder,
  memoryStore,
  momentsOnDemand,
  open,
  quantize,
  randomCheckpoint,
} from "../src/index.ts"
import { decodeToFloat32 } from "../src/model/dtype.ts"
import { internals } from "../src/session.ts"
import { expectClose } from "./helpers/compare.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { random } from "./helpers/kernels.ts"
import {
  CONFIG,
  DTYPES,
  dequantized,
  FILE,
  IDS,
  outputs,
  quantized,
  randomModel,
  tensorsOf,
  testModels,
  valuesOf,
} from "./helpers/quantized_models.ts"
import { readGolden } from "./model/fixture_folders.ts"
import * as reference from "./reference/quantized.ts"

const device = testDeviceKind()
const model = testModels()

function logProbs(logits: Float32Array): number[] {
  const sum = logits.reduce((sum, logit) => sum + Math.exp(logit), 0)
  return Array.from(logits, (logit) => logit - Math.log(sum))
}

describe("quantize", () => {
  test.each([
    ["tiny-gemma2", readGolden("tiny-gemma2")],
    ["tiny-gemma3-bf16", readGolden("tiny-gemma3-bf16")],
    ["tiny-gemma3-mm", readGolden("tiny-gemma3-mm")],
    ["tiny-gemma3-rope8-sharded", readGolden("tiny-gemma3-rope8-sharded")],
    ["tiny-hgrnbit", readGolden("tiny-hgrnbit")],
  ])("writes what loading rounds to: %s answers the same to the bit", async (name, files) => {
    const folder = memoryFolder(name, files)
    for (const dtype of DTYPES) {
      const rounded = await outputs(await model(folder, { dtype }))
      const store = await quantized(folder, { dtype })
      const kept = await model(store)
      expect(await outputs(kept)).toEqual(rounded)
      expect([...internals(kept).model.packed.values()].some((weight) => weight.dtype === dtype)).toBe(true)
      expect(store.files.get("config.json")).toEqual(files.get("config.json"))
    }
  })

  test("writes codes as they are described, and everything else as it was", async () => {
    const files = readGolden("tiny-gemma3-bf16")
    for (const dtype of DTYPES) {
      const folder = memoryFolder("bf16", files)
      const { packed, device: gpu } = internals(await model(folder, { dtype })).model
      const store = memoryStore()
      const told: string[] = []
      const onWeight = (name: string, done: number, of: number) => told.push(`${done}/${of} ${name}`)
      const result = await quantize(folder, store, { device, dtype, onWeight })
      const [before, after] = [await tensorsOf(files), await tensorsOf(store.files)]
      expect(packed.size).toBeGreaterThan(5)
      expect([...result.weights].sort()).toEqual([...packed.keys()].sort())
      expect([told.length, result.calibrated]).toEqual([packed.size, []])
      for (const [name, { shape, parts }] of packed) {
        const memory = await Promise.all(parts.map(async ({ tensor }) => new Uint32Array(await gpu.read(tensor))))
        const blocks = memory.flatMap((each, i) => reference.blocks(each, [parts[i]!.rows, shape[1]], dtype))
        expect(valuesOf(after, name), name).toEqual(Float32Array.from(reference.valuesOf(blocks)))
      }
      const size = (tensors: typeof before) => [...tensors.values()].reduce((sum, { bytes }) => sum + bytes.length, 0)
      expect([result.bytesBefore, result.bytesAfter]).toEqual([size(before), size(after)])
      for (const [name, { bytes }] of before) if (!packed.has(name)) expect(after.get(name)!.bytes).toEqual(bytes)
    }
  })

  test("keeps codes that are there already, and goes to another type from what they stand for", async () => {
    const q4 = await quantized(await randomModel(), { dtype: "q4" })
    const again = await quantized(q4, { dtype: "q4" })
    expect(again.files.get(FILE)).toEqual(q4.files.get(FILE))
    const q8 = await quantized(q4, { dtype: "q8" })
    const plain = memoryFolder("plain", await dequantized(q4.files))
    expect(await outputs(await model(q8))).toEqual(await outputs(await model(plain, { dtype: "q8" })))
    expect(await outputs(await model(q4, { dtype: "bf16" }))).toEqual(
      await outputs(await model(plain, { dtype: "bf16" })),
    )
    await expect(quantize(q4, memoryStore(), { device, dtype: "f32" as "q4" })).rejects.toThrow(
      new TypeError("quantize: dtype is f32, expected q4 or q8"),
    )
  })

  test("with moments keeps more of what layers give on their inputs, in every layer and the head", async () => {
    const folder = await randomModel()
    const next = random(3)
    const text = () => Array.from({ length: 60 }, () => 3 + Math.floor(next() ** 3 * 200))
    const [lm, texts] = [await model(folder), Array.from({ length: 8 }, text)]
    const moments = await inputMoments(lm, texts)
    const [plain, calibrated, passing] = [memoryStore(), memoryStore(), memoryStore()]
    await quantize(folder, plain, { device, dtype: "q4" })
    const result = await quantize(folder, calibrated, { device, dtype: "q4", moments })
    expect(result.calibrated).toEqual(result.weights)
    await quantize(folder, passing, { device, dtype: "q4", moments: momentsOnDemand(lm, texts, { bytes: 1 }) })
    expect(passing.files.get(FILE)).toEqual(calibrated.files.get(FILE))
    const [own, nearest] = [await tensorsOf(calibrated.files), await tensorsOf(plain.files)]
    const { tensors } = await open(folder)
    for (const name of result.weights) {
      const { source, info } = tensors.get(name)!
      const weight = decodeToFloat32("F32", new Uint8Array(await source.slice(info.start, info.end)))
      const moment = moments.get(name.replace(".weight", ""))!
      const lost = (values: Float32Array) => reference.outputError(weight, values, moment)
      expect(lost(valuesOf(own, name)), name).toBeLessThan(0.9 * lost(valuesOf(nearest, name)))
    }
    const other = new Map([["model.layers.0.nothing", new Float64Array(1)]])
    await expect(quantize(folder, memoryStore(), { device, dtype: "q4", moments: other })).rejects.toThrow(
      "quantize: moments are of no weight of random checkpoint",
    )
    await expect(quantize(folder, memoryStore(), { device, dtype: "q8", moments })).rejects.toThrow(
      "quantize: moments are given with q8, expected q4",
    )
  })

  test("writes nothing when it is stopped, and refuses a model whose rows are no blocks", async () => {
    const controller = new AbortController()
    const store = memoryStore()
    const onWeight = () => controller.abort()
    const { signal } = controller
    const stopped = quantize(await randomModel(), store, { device, dtype: "q4", onWeight, signal })
    await expect(stopped).rejects.toThrow(/abort/)
    const narrow = { hidden_size: 48, intermediate_size: 48, num_attention_heads: 3, head_dim: 16 }
    const none = quantize(await randomCheckpoint({ ...CONFIG, ...narrow }), store, { device, dtype: "q8" })
    await expect(none).rejects.toThrow("quantize: random checkpoint has no weight with rows of a multiple of 32")
    expect(store.files.size).toBe(0)
  })
})

describe("divergence", () => {
  test("is that of the predictions, token by token", async () => {
    const folder = memoryFolder("tiny", readGolden("tiny-gemma3"))
    const [plain, coded] = [await model(folder), await model(folder, { dtype: "q4" })]
    const sequences = [IDS, IDS.slice(3, 9), IDS.slice(0, 1)]
    const [V, sums] = [512, { loss: 0, kl: 0, same: 0, tokens: 0 }]
    for (const ids of sequences.slice(0, 2)) {
      const [p, q] = [(await plain.logits(ids)).data, (await coded.logits(ids)).data]
      for (let t = 0; t + 1 < ids.length; t++) {
        const [a, b] = [p, q].map((logits) => logProbs(logits.subarray(t * V, (t + 1) * V)))
        sums.tokens++
        sums.loss -= b![ids[t + 1]!]!
        sums.kl += a!.reduce((sum, logProb, v) => sum + Math.exp(logProb) * (logProb - b![v]!), 0)
        sums.same += a!.indexOf(Math.max(...a!)) === b!.indexOf(Math.max(...b!)) ? 1 : 0
      }
    }
    const { tokens, perplexity, reference, kl, agreement } = await divergence(coded, plain, sequences)
    expect([tokens, agreement]).toEqual([44, sums.same / 44])
    expectClose([perplexity, kl], [Math.exp(sums.loss / 44), sums.kl / 44], { relative: 1e-6 }, { what: "divergence" })
    expect(reference).not.toBe(perplexity)
    expect(await divergence(plain, plain, sequences)).toMatchObject({ perplexity: reference, kl: 0, agreement: 1 })
    await expect(divergence(coded, plain, [[5]])).rejects.toThrow("divergence: sequences predict 0 tokens")
    const other = await model(memoryFolder("other", readGolden("tiny-gemma2")))
    await expect(divergence(other, plain, sequences)).rejects.toThrow("divergence: vocabulary is of 384, expected 512")
  })
})
