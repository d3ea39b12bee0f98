import { readFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, type LoadOptions, load } from "../src/index.ts"
import { decodeToFloat32 } from "../src/model/dtype.ts"
import { readAdapter } from "../src/model/peft.ts"
import { pathFolder } from "../src/platform/node_files.ts"
import { expectClose } from "./helpers/compare.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { fixture, golden } from "./helpers/golden.ts"
import * as attend from "./reference/attend.ts"
import { entropy, largest, logSoftmax, rankOf } from "./reference/likeliest.ts"
import { linear } from "./reference/linear.ts"
import { rmsNorm } from "./reference/rms_norm.ts"
import { rope } from "./reference/rope.ts"

const device = testDeviceKind()
const open = (name: string, options: LoadOptions = {}) => load(fixture(name), { device, context: 128, ...options })

/** What the layers of the golden models are, by the papers and the keys of config.json, and by nothing of ours. */
const MODELS = {
  "tiny-gemma1": { window: () => 0, theta: () => 1e4, softcap: 0, scale: 32 ** -0.5, qkNorm: false },
  "tiny-gemma2": {
    window: (layer: number) => (layer % 2 === 0 ? 16 : 0),
    theta: () => 1e4,
    softcap: 50,
    scale: 24 ** -0.5,
    qkNorm: false,
  },
  "tiny-gemma3": {
    window: (layer: number) => (layer === 5 ? 0 : 16),
    theta: (layer: number) => (layer === 5 ? 1e6 : 1e4),
    softcap: 0,
    scale: 32 ** -0.5,
    qkNorm: true,
  },
} as const

/** Reads a tensor of a golden model's file. */
function weights(name: string): (tensor: string) => Float32Array {
  const bytes = readFileSync(fixture(`goldens/${name}/model.safetensors`))
  const length = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString())
  return (tensor) => {
    const { dtype, data_offsets } = header[tensor]
    return decodeToFloat32(
      dtype,
      new Uint8Array(bytes.subarray(8 + length + data_offsets[0], 8 + length + data_offsets[1])),
    )
  }
}

/** The weights of a head from what goes into its layer, in float64. */
function expectedWeights(
  name: keyof typeof MODELS,
  layer: number,
  head: number,
  x: Float32Array,
  change: (path: string, weight: Float32Array) => Float32Array = (_, weight) => weight,
): Float64Array {
  const { window, theta, softcap, scale, qkNorm } = MODELS[name]
  const read = weights(name)
  const at = `model.layers.${layer}`
  const [C, D] = [64, 32]
  const norm = { eps: 1e-6, offset: 1 }
  const u = rmsNorm(x, read(`${at}.input_layernorm.weight`), norm)
  const heads = (which: "q" | "k") => {
    const path = `${at}.self_attn.${which}_proj`
    const y = linear(u, change(path, read(`${path}.weight`)), C)
    const normed = qkNorm ? rmsNorm(y, read(`${at}.self_attn.${which}_norm.weight`), norm) : y
    const H = y.length / (x.length / C) / D
    return { H, y: rope(normed, { H, D, theta: theta(layer), factor: 1, position: 0 }) }
  }
  const [q, k] = [heads("q"), heads("k")]
  const attention = { H: q.H, G: k.H, D, window: window(layer), scale, softcap, position: 0 }
  return attend.attentionWeights(q.y, k.y, head, attention)
}

describe.each(Object.keys(MODELS) as (keyof typeof MODELS)[])("attention of %s", (name) => {
  const expected = golden(`goldens/${name}`)
  const states = Array.from({ length: 8 }, (_, i) => `hidden.${i}`).filter((each) => expected.has(each))
  const T = expected.tensor("hidden.0").shape[0]!
  const ids = expected.prompts.find((prompt) => prompt.ids.length === T)!.ids
  let lm: LanguageModel
  beforeAll(async () => {
    lm = await open(`goldens/${name}`, { chunk: 16 })
  })
  afterAll(() => lm?.dispose())

  test("is the definition's for every layer and head, of the golden's hidden states", async () => {
    for (let layer = 0; layer < lm.config.numLayers; layer++) {
      const { data: x } = expected.tensor(states[layer]!)
      for (const head of [0, 3]) {
        const { data, shape } = await lm.attention(ids, { layer, head })
        expect(shape).toEqual([T, T])
        const what = `layer ${layer} head ${head}`
        expectClose(data, expectedWeights(name, layer, head, x), { absolute: 2e-5 }, { what })
        for (let t = 0; t < T; t++) {
          const row = data.subarray(t * T, t * T + T)
          expect(row.reduce((a, b) => a + b)).toBeCloseTo(1, 5)
          expect(row.subarray(t + 1).every((weight) => weight === 0)).toBe(true)
        }
      }
    }
  })

  test("sees adapters that are on", async () => {
    const base = (await lm.attention(ids, { layer: 1, head: 2 })).data
    const folder = fixture(`goldens/${name}/adapter`)
    const { modules } = await readAdapter(pathFolder(folder))
    await lm.loadAdapter(folder)
    const x = (await lm.hiddenStates(ids))[1]!.data
    const { data } = await lm.attention(ids, { layer: 1, head: 2 })
    expect(data).not.toEqual(base)
    const change = (path: string, weight: Float32Array) => {
      const module = modules.get(path)
      if (!module) return weight
      const { a, b, rank, scale } = module
      const columns = module.in
      return weight.map((value, i) => {
        const [n, c] = [Math.floor(i / columns), i % columns]
        return (
          value +
          scale * Array.from({ length: rank }, (_, r) => b[n * rank + r]! * a[r * columns + c]!).reduce((s, v) => s + v)
        )
      })
    }
    expectClose(data, expectedWeights(name, 1, 2, x, change), { absolute: 2e-5 }, { what: "with the adapter" })
    await lm.removeAdapter("default")
    expect((await lm.attention(ids, { layer: 1, head: 2 })).data).toEqual(base)
  })
})

describe("attention", () => {
  test("rounds keys in a cache of eight bits, and refuses what there is not", async () => {
    const expected = golden("goldens/tiny-gemma3")
    const { data: x, shape } = expected.tensor("hidden.0")
    const { ids } = expected.prompts.find(({ ids }) => ids.length === shape[0])!
    const lm = await open("goldens/tiny-gemma3", { chunk: 16, context: 8193, cacheDtype: "q8" })
    const { data } = await lm.attention(ids, { layer: 0, head: 1 })
    expectClose(data, expectedWeights("tiny-gemma3", 0, 1, x), { absolute: 0.02 }, { what: "eight bits" })
    const ask = (layer: number, head: number) => lm.attention([2, 3], { layer, head })
    await expect(ask(8, 0)).rejects.toThrow(new RangeError("attention: layer is 8, expected 0 to 7"))
    await expect(ask(0.5, 0)).rejects.toThrow("layer is 0.5")
    await expect(ask(0, 4)).rejects.toThrow(new RangeError("attention: head is 4, expected 0 to 3"))
    const all = (T: number) => lm.attention(Array(T).fill(3), { layer: 0, head: 0 })
    await expect(all(8194)).rejects.toThrow("prompt: 8194 tokens")
    await expect(all(8193)).rejects.toThrow(/attention: 8193 tokens need .* expected at most 256.* \(8192 tokens\)/)
    await lm.dispose()
  })
})

describe.each(["tiny-gemma2", "tiny-hgrnbit"])("predictions of %s", (name) => {
  const expected = golden(`goldens/${name}`)
  const i = expected.prompts.reduce(
    (best, { ids }, i) => (ids.length > expected.prompts[best]!.ids.length ? i : best),
    0,
  )
  const { ids } = expected.prompts[i]!
  let lm: LanguageModel
  beforeAll(async () => {
    lm = await open(`goldens/${name}`, { chunk: 16 })
  })
  afterAll(() => lm?.dispose())

  test("are those of the golden's logits", async () => {
    const { data, tolerance, shape } = expected.tensor(`prompt.${i}.logits`)
    const [T, V] = shape as [number, number]
    const { tokens, top, ...told } = await lm.predictions(ids, { top: 5 })
    expect([tokens, top, told.ids.length, told.topLogProbs.length, told.entropy.length]).toEqual([
      ids,
      5,
      5 * T,
      5 * T,
      T,
    ])
    expect([told.logProbs.length, told.ranks.length]).toEqual([T - 1, T - 1])
    for (let t = 0; t < T; t++) {
      const row = data.subarray(t * V, t * V + V)
      const all = logSoftmax(row)
      const mine = [...told.ids.subarray(5 * t, 5 * t + 5)]
      const error = { absolute: 2 * tolerance + 1e-6 }
      // Ids may differ only where logits are too near for f32.
      const best = largest(row, 5).map((id) => all[id]!)
      expectClose(
        mine.map((id) => all[id]!),
        best,
        error,
        { what: `top of ${t}` },
      )
      expectClose(told.topLogProbs.subarray(5 * t, 5 * t + 5), best, error, { what: `log-probabilities of ${t}` })
      expectClose([told.entropy[t]!], [entropy(row)], { absolute: 20 * tolerance + 1e-5 }, { what: `entropy of ${t}` })
      if (t === T - 1) continue
      const next = ids[t + 1]!
      expectClose([told.logProbs[t]!], [all[next]!], error, { what: `what follows ${t}` })
      const above = [...row.keys()].filter((id) => row[id]! > row[next]! + 2 * tolerance).length
      const near = [...row.keys()].filter((id) => Math.abs(row[id]! - row[next]!) <= 2 * tolerance).length
      expect(told.ranks[t]! - above).toBeGreaterThan(0)
      expect(told.ranks[t]! - above).toBeLessThanOrEqual(near)
      if (near === 1) expect(told.ranks[t]).toBe(rankOf(row, next))
    }
  })

  test("tell of what follows what score tells, to the bit", async () => {
    const [{ logProbs }, score] = [await lm.predictions(ids, { top: 1 }), await lm.score(ids)]
    expect(logProbs).toEqual(score.logProbs)
  })

  if (name === "tiny-hgrnbit") {
    test("are all that there is of a recurrence: attention is refused by name", async () => {
      await expect(lm.attention([2, 3], { layer: 1, head: 0 })).rejects.toThrow(
        new RangeError("attention: layer 1 of hgrn_bit is a recurrence, expected one with attention"),
      )
    })
  }

  test("need no more than one token, and refuse counts that cannot be", async () => {
    const { ids, logProbs, ranks } = await lm.predictions([2])
    expect([ids.length, logProbs.length, ranks.length]).toEqual([10, 0, 0])
    const most = Math.min(256, lm.config.vocabSize)
    await expect(lm.predictions([2], { top: 0 })).rejects.toThrow(
      new RangeError(`predictions: k is 0, expected 1 to ${most}`),
    )
    await expect(lm.predictions([2], { top: 257 })).rejects.toThrow(`expected 1 to ${most}`)
  })
})
