import { describe, expect, test } from "vitest"
import {
  type LanguageModel,
  type MemoryStore,
  memoryStore,
  merge,
  open,
  type Packing,
  pack,
  parameterCounts,
  type TuneOptions,
  tune,
} from "../../src/index.ts"
import { unpackRow } from "../../src/kernels/ternary.ts"
import { parseConfig } from "../../src/model/config.ts"
import { internals } from "../../src/session.ts"
import { expectClose } from "../helpers/compare.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { STORIES, STORYTELLER } from "../helpers/stories.ts"
import { allSteps, expectToGoOn, IDS, modelsOnOneDevice, randomWeights, SHORT_RUN } from "../helpers/training.ts"
import { rowsInFours } from "../reference/ternary.ts"

const CONFIG = {
  model_type: "hgrn_bit",
  hidden_size: 64,
  num_hidden_layers: 2,
  intermediate_size: 96,
  vocab_size: 4096,
  bos_token_id: 2,
  eos_token_id: 1,
}
const RUN: TuneOptions = { ...SHORT_RUN, evaluateEvery: 0 }
const openModel = modelsOnOneDevice()
const random = (config: object = CONFIG) => randomWeights(config)

describe("hgrn_bit", () => {
  /** Trains and gives the losses of the steps. */
  async function losses(lm: LanguageModel, options: TuneOptions): Promise<number[]> {
    const steps = await allSteps(tune(lm, STORIES, { ...RUN, ...options }))
    return steps.map(({ loss }) => loss!)
  }

  test.each([
    ["370M", { hidden_size: 1024, num_hidden_layers: 24 }, 374_108_160],
    ["1.3B", { hidden_size: 2048, num_hidden_layers: 24 }, 1_364_779_008],
    ["2.7B", { hidden_size: 2560, num_hidden_layers: 32 }, 2_702_357_504],
  ])("the published %s has its number of parameters", (_, sizes, expected) => {
    const json = {
      ...sizes,
      architectures: ["HGRNBitForCausalLM"],
      model_type: "hgrn_bit",
      vocab_size: 32000,
      num_heads: 1,
      expand_ratio: 1,
      hidden_ratio: 4,
      intermediate_size: null,
      hidden_act: "swish",
      use_lower_bound: true,
      use_short_conv: false,
      conv_size: 4,
      share_conv_kernel: true,
      attn_mode: "fused_recurrent",
      rms_norm_eps: 1e-6,
      max_position_embeddings: 2048,
      tie_word_embeddings: false,
      bos_token_id: 1,
      eos_token_id: 2,
      initializer_range: 0.02,
      fuse_cross_entropy: true,
    }
    expect(parameterCounts(parseConfig(json, "config.json")).total).toBe(expected)
  })

  test.each([
    [{ model_type: "hgrn2" }, /model_type is "hgrn2", expected .*hgrn_bit/],
    [{ model_type: "hgrn" }, /model_type is "hgrn", expected .*hgrn_bit/],
    [{ use_short_conv: true }, /use_short_conv is true, expected false/],
    [{ use_lower_bound: false }, /use_lower_bound is false, expected true/],
    [{ expand_ratio: 2 }, /expand_ratio is 2, expected 1/],
    [{ tie_word_embeddings: true }, /tie_word_embeddings is true, expected false/],
    [{ hidden_size: 72 }, /hidden_size is 72, expected a multiple of 16/],
    [{ hidden_act: "gelu" }, /hidden_act is "gelu", expected swish or silu/],
    [{ rotary: 3 }, /rotary is 3, expected no such key/],
  ])("another flavour is refused by name: %j", (change, message) => {
    expect(() => parseConfig({ ...CONFIG, ...change }, "config.json")).toThrow(message)
  })

  test("all weights learn, and go on to the bit", async () => {
    const fresh = async () => openModel(await random(), { dtype: "f32" })
    const all = await expectToGoOn(fresh, { ...RUN, evaluateEvery: 3, method: "full" })
    expect(all.at(-1)!).toBeLessThan(all[0]! - 0.5)
  })

  test("after training the trits are those of the trained weights", async () => {
    const lm = await openModel(await random(), { dtype: "f32" })
    const store = memoryStore()
    await losses(lm, { method: "full", store })
    const again = await openModel(store)
    expect((await again.logits(IDS)).data).toEqual((await lm.logits(IDS)).data)
  })

  test("packed weights are not trained as if they were whole", async () => {
    const lm = await openModel(await random())
    await expect(losses(lm, { method: "full" })).rejects.toThrow(
      /tune: .*_proj.weight is ternary, expected f32 to train all weights/,
    )
  })

  test("LoRA learns on packed weights, loads again, and cannot be merged", async () => {
    const base = await random()
    const lm = await openModel(base)
    const before = await lm.logits(IDS)
    const store = memoryStore()
    const learnt = await losses(lm, { method: "lora", rank: 4, rate: 2e-2, store })
    expect(learnt.at(-1)!).toBeLessThan(learnt[0]! - 0.1)
    const tuned = await lm.logits(IDS)
    expect(tuned.data).not.toEqual(before.data)
    await lm.setAdapters([])
    expect((await lm.logits(IDS)).data).toEqual(before.data)
    const other = await openModel(base)
    await other.loadAdapter(store)
    expectClose((await other.logits(IDS)).data, tuned.data, { absolute: 2e-5 }, { what: "logits" })
    await expect(merge(base, [store], memoryStore())).rejects.toThrow(
      /mergeAdapters: .* expected a dense one .*rounded to trits behind a norm/,
    )
  })

  test("an adapter that decomposes the weight is refused by name", async () => {
    const lm = await openModel(await random())
    await expect(losses(lm, { method: "lamda" })).rejects.toThrow(/weight is ternary, expected one matrix/)
    await expect(losses(lm, { method: "lora", init: "pissa" })).rejects.toThrow(
      /weight is ternary, expected one matrix/,
    )
    const released = await losses(lm, { method: "lamda", init: "released", rank: 4, rate: 2e-2 })
    expect(released.at(-1)!).toBeLessThan(released[0]!)
  })

  test.each<[Packing, object, number]>([
    ["two-bit", CONFIG, 2],
    ["base3", { ...CONFIG, hidden_size: 256, intermediate_size: 512 }, 1.625],
  ])("a model packed as %s has the logits of the one that it came from, to the bit", async (packing, config, bits) => {
    const folder = await random(config)
    const store: MemoryStore = memoryStore()
    await pack(folder, store, { packing, device: testDeviceKind() })
    const { weights } = await open(store)
    const head = weights.get("head.weight")!
    expect(head.info.dtype).toBe("U8")
    expect((8 * (head.info.end - head.info.start)) / head.spec.shape.reduce((a, b) => a * b, 1)).toBe(bits)
    const [one, other] = [await openModel(folder), await openModel(store)]
    expect((await other.logits(IDS)).data).toEqual((await one.logits(IDS)).data)
    const twice = memoryStore()
    await pack(store, twice, { packing, device: testDeviceKind() })
    expect(Buffer.compare(twice.files.get("model.safetensors")!, store.files.get("model.safetensors")!)).toBe(0)
    await expect(openModel(store, { dtype: "f32" })).rejects.toThrow(/is stored as ternary alone, expected all of it/)
  })

  test("what cannot be packed is refused by name", async () => {
    const device = testDeviceKind()
    await expect(pack(STORYTELLER, memoryStore(), { device })).rejects.toThrow(
      /pack: .* has no ternary weight, expected/,
    )
    await expect(pack(await random(), memoryStore(), { packing: "base3", device })).rejects.toThrow(
      /has rows of 64, expected a multiple of 256 for base3/,
    )
  })

  test("a packed file with bytes of another shape, or without its scale, is refused by name", async () => {
    const store = memoryStore()
    await pack(await random(), store, { device: testDeviceKind() })
    const file = Buffer.from(store.files.get("model.safetensors")!)
    const header = file.subarray(8, 8 + Number(file.readBigUInt64LE(0))).toString("latin1")
    const altered = async (from: string, to: string) => {
      expect(header).toContain(from)
      const bytes = Buffer.from(file)
      bytes.write(header.replace(from, to), 8, "latin1")
      const broken = memoryStore()
      for (const [name, data] of store.files) await broken.write(name, [name === "model.safetensors" ? bytes : data])
      return open(broken)
    }
    await expect(altered("lm_head.weight_scale", "lm_head.weight_scalp")).rejects.toThrow(
      "lm_head.weight_scale is missing, expected F32 [1]",
    )
    await expect(altered("[4096,16]", "[2048,32]")).rejects.toThrow(
      /lm_head.weight is \[2048, 32\] bytes, expected \[4096, 16\]/,
    )
  })

  test("about a third of random weights become 0", async () => {
    const lm = await openModel(await random())
    const { device, packed } = internals(lm).model
    const { tensor } = packed.get("model.layers.0.mlp.gate_proj.weight")!.parts[0]!
    const rows = rowsInFours(new Uint32Array(await device.read(tensor)), 192, 64 / 16 + 1)
    const zeros = rows.flatMap((row) => [...unpackRow(row).trits]).filter((trit) => trit === 0).length
    expect(zeros / (192 * 64)).toBeCloseTo(0.31, 2) // of a normal distribution: erf(0.5 * 0.798 / sqrt(2))
  })
})
