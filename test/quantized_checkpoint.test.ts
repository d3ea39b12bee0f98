import { describe, expect, test } from "vitest"
import {
  type LanguageModel,
  type MemoryStore,
  memoryFolder,
  memoryStore,
  open,
  randomCheckpoint,
  readAdapter,
  type TuneOptions,
  tune,
} from "../src/index.ts"
import type { SafetensorsEntry } from "../src/model/safetensors.ts"
import { pathFolder } from "../src/platform/node_files.ts"
import { internals } from "../src/session.ts"
import { expectClose } from "./helpers/compare.ts"
import { ggufOf } from "./helpers/gguf_conversion.ts"
import { fixture, golden } from "./helpers/golden.ts"
import {
  CONFIG,
  changed,
  DTYPES,
  dequantized,
  FILE,
  IDS,
  outputs,
  quantized,
  randomModel,
  tensorsOf,
  testModels,
} from "./helpers/quantized_models.ts"
import { readGolden, repositoryPath } from "./model/fixture_folders.ts"

const ADAPTER = fixture("goldens/tiny-gemma3/adapter")
const STORYTELLER = pathFolder(repositoryPath("weights/storyteller"))
const STORIES = Array.from({ length: 6 }, (_, i) => ({ text: `Once there was a ${["cat", "dog"][i % 2]}. The end.` }))
const METHODS: Record<string, TuneOptions> = {
  lora: {},
  dora: { dora: true },
  pissa: { init: "pissa" },
  lamda: { method: "lamda" },
}

const model = testModels()

describe("a checkpoint of codes", () => {
  test("is refused by name where something about it is wrong", async () => {
    const [q4, q8] = [
      await quantized(await randomModel(), { dtype: "q4" }),
      await quantized(await randomModel(), { dtype: "q8" }),
    ]
    const name = "model.layers.0.mlp.up_proj.weight"
    const refused = async (files: MemoryStore, change: Parameters<typeof changed>[1], text: string) =>
      expect(open(await changed(files.files, change))).rejects.toThrow(new RangeError(`${FILE}: ${text}`))
    const without = (gone: string) => (entry: SafetensorsEntry) => (entry.name === gone ? undefined : entry)
    const withShape = (of: string, shape: number[]) => (entry: SafetensorsEntry) =>
      entry.name === of ? { ...entry, shape } : entry
    await refused(q4, without(`${name}_scale`), `${name}_scale is missing, expected F32 [96, 2]`)
    await refused(q4, without(`${name}_zero_sixteenths`), `${name}_zero_sixteenths is missing, expected U8 [96, 2]`)
    await refused(q8, without(`${name}_scale`), `${name}_scale is missing, expected F32 [96, 2]`)
    await refused(q4, withShape(name, [32, 96]), `${name} is [32, 96] codes in q4, expected [96, 32]`)
    await refused(q8, withShape(name, [64, 96]), `${name} is [64, 96] codes in q8, expected [96, 64]`)
    await refused(
      q4,
      withShape(`${name}_zero_sixteenths`, [2, 96]),
      `${name}_zero_sixteenths is U8 [2, 96], expected U8 [96, 2]`,
    )
    await refused(
      q8,
      (entry) => (entry.name === `${name}_scale` ? { ...entry, dtype: "I32" } : entry),
      `${name}_scale is I32 [96, 2], expected F32 [96, 2]`,
    )
    const zero = { name: `${name}_zero_sixteenths`, dtype: "U8", shape: [96, 2], bytes: new Uint8Array(192) } as const
    const left = "is left over, expected no such tensor for gemma3_text (is config.json from another model?)"
    await refused(q8, (entry) => (entry.name === name ? [entry, zero] : entry), `${name}_zero_sixteenths ${left}`)
    await expect(model(q4, { dtype: "f32" })).rejects.toThrow(
      /weight: is stored in q4 alone, expected all of it to load with dtype f32$/,
    )
  })

  test("is for other uses what its codes stand for", async () => {
    const q4 = await quantized(await randomModel(), { dtype: "q4" })
    const plain = await dequantized(q4.files)
    for (const [name, { info, source }] of (await open(q4)).tensors) {
      const expected = (await tensorsOf(plain)).get(name)!
      expect(info.shape).toEqual(expected.shape)
      expect(new Uint8Array(await source.slice(info.start, info.end)), name).toEqual(expected.bytes)
      const [from, to] = [info.start + 516, info.start + 4 * Math.min(700, (info.end - info.start) / 4)]
      if (to <= from) continue
      expect(new Uint8Array(await source.slice(from, to))).toEqual(
        expected.bytes.slice(from - info.start, to - info.start),
      )
    }
  })
})

/** Log-probabilities of the likeliest tokens of a first step. */
async function firstLogprobs(lm: LanguageModel): Promise<Map<number, number>> {
  const generation = lm.generate(IDS.slice(0, 1), { temperature: 0, ignoreEos: true, maxTokens: 1, logprobs: 20 })
  const known = new Map<number, number>()
  for await (const { logprobs } of generation) {
    for (const { top } of logprobs!) for (const { token, logprob } of top) known.set(token, logprob)
  }
  return known
}

describe("a GGUF's blocks", () => {
  test.each([
    ["Q4_0", "q4"],
    ["Q8_0", "q8"],
  ] as const)("%s are on the GPU as %s, and give what they stand for", async (type, dtype) => {
    const files = readGolden("tiny-gemma3")
    const gguf = memoryFolder("gguf", new Map([["model.gguf", ggufOf(files, type)]]))
    const kept = await model(gguf)
    const { packed } = internals(kept).model
    expect(packed.size).toBeGreaterThan(5)
    for (const [name, weight] of packed) expect(weight.dtype, name).toBe(dtype)
    const plain = await model(gguf, { dtype: "f32" })
    expect(internals(plain).model.packed.size).toBe(0)
    const { data } = await plain.logits(IDS)
    const { tolerance } = golden("goldens/tiny-gemma3").tensor("prompt.4.logits")
    expectClose((await kept.logits(IDS)).data, data, { absolute: tolerance }, { what: `${type} logits` })
    // A token that is scored meets the codes as it is, one that is drawn in eight bits.
    const [one, exact] = [await kept.logits(IDS.slice(0, 1)), await plain.logits(IDS.slice(0, 1))]
    expectClose(one.data, exact.data, { absolute: tolerance }, { what: `${type} logits of a token` })
    const [drawn, wanted] = [await firstLogprobs(kept), await firstLogprobs(plain)]
    const worst = Math.max(...[...wanted].map(([token, logprob]) => Math.abs((drawn.get(token) ?? logprob) - logprob)))
    expect(worst).toBeGreaterThan(tolerance)
    expect(worst).toBeLessThan(0.5)
    const stored = await quantized(gguf, { dtype })
    expect(await outputs(await model(stored))).toEqual(await outputs(kept))
  })
})

describe("adapters on codes", () => {
  test("get the gradients that they get on what the codes stand for", async () => {
    for (const dtype of DTYPES) {
      const store = await quantized(memoryFolder("tiny", readGolden("tiny-gemma3")), { dtype })
      const [coded, plain] = [await model(store), await model(memoryFolder("plain", await dequantized(store.files)))]
      const { modules } = await readAdapter(pathFolder(ADAPTER))
      const wrt = [...modules.keys()].flatMap((path) =>
        ["A", "B"].map((factor) => `base_model.model.${path}.lora_${factor}.weight`),
      )
      const results = []
      for (const lm of [coded, plain]) {
        await lm.loadAdapter(ADAPTER)
        results.push(await lm.lossAndGradients(IDS.slice(0, 24), { wrt }))
      }
      const [own, expected] = results
      expect(own!.gradients.size).toBeGreaterThan(4)
      expectClose([own!.loss], [expected!.loss], { relative: 1e-6 }, { what: "loss" })
      for (const [name, gradient] of expected!.gradients) {
        expect(gradient.some((value) => value !== 0)).toBe(true)
        expectClose(own!.gradients.get(name)!, gradient, { relative: 1e-5 }, { what: `${dtype} ${name}` })
      }
    }
  })

  test.each(Object.entries(METHODS))(
    "are trained on a model in four bits, and load to equal logits: %s",
    async (_, options) => {
      const folder = await randomCheckpoint({ ...CONFIG, vocab_size: 4096 }, { seed: 1, tokenizer: STORYTELLER })
      const lm = await model(folder, { dtype: "q4" })
      const base = await lm.logits(IDS)
      const store = memoryStore()
      const settings = { steps: 3, batch: 2, context: 24, rate: 1e-2, warmup: 1, heldOut: 0, rank: 4, seed: 3 }
      const tuning = tune(lm, STORIES, { ...settings, ...options, store })
      const losses: (number | undefined)[] = []
      for await (const { loss } of tuning) losses.push(loss)
      expect(losses.map(Number.isFinite)).toEqual([true, true, true])
      const { data } = await lm.logits(IDS)
      expect(data).not.toEqual(base.data)
      tuning.dispose()
      await lm.removeAdapter("tuned")
      expect(await lm.logits(IDS)).toEqual(base)
      await lm.loadAdapter(store, { name: "again" })
      expectClose((await lm.logits(IDS)).data, data, { absolute: 2e-5 }, { what: "logits" })
    },
  )

  test("are refused where all weights are to be trained", async () => {
    const store = await quantized(await randomCheckpoint({ ...CONFIG, vocab_size: 4096 }, { tokenizer: STORYTELLER }), {
      dtype: "q4",
    })
    const tuning = tune(await model(store), STORIES, { steps: 1, method: "full", store: memoryStore() })
    const steps = async () => {
      for await (const _ of tuning);
    }
    await expect(steps()).rejects.toThrow(/weight is q4, expected f32 to train all weights/)
  })
})
