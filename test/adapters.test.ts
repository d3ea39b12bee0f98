import { afterEach, describe, expect, test } from "vitest"
import { type LanguageModel, load, memoryFolder } from "../src/index.ts"
import { adapterFiles, type PeftAdapter, readAdapter } from "../src/model/peft.ts"
import { pathFolder } from "../src/platform/node_files.ts"
import { expectClose } from "./helpers/compare.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { fixture, golden } from "./helpers/golden.ts"

const NAME = "goldens/tiny-gemma3"
const ADAPTER = fixture(`${NAME}/adapter`)
const IDS = golden(NAME).prompts[4]!.ids // 40 tokens, past the window of 16

describe("adapters of a LanguageModel", () => {
  let lm: LanguageModel
  afterEach(() => lm?.dispose())

  async function open(): Promise<Float32Array> {
    lm = await load(fixture(NAME), { device: testDeviceKind(), context: 64 })
    return logits()
  }
  const logits = async () => (await lm.logits(IDS)).data
  const names = () => lm.adapters.map(({ name, on }) => `${name} ${on ? "on" : "off"}`)

  /** The golden adapter with something about it changed, in memory. */
  async function variant(change: (adapter: PeftAdapter) => PeftAdapter) {
    return memoryFolder("variant", await adapterFiles(change(await readAdapter(pathFolder(ADAPTER)))))
  }

  /** Its change times a factor. */
  const scaled = (factor: number) =>
    variant(({ config, modules }) => {
      const times = [...modules].map(([path, m]) => [path, { ...m, b: m.b.map((value) => value * factor) }] as const)
      return { config, modules: new Map(times) }
    })

  test("switch on and off, and leave the base as it was to the bit", async () => {
    const base = await open()
    const bytes = lm.memory.weights
    expect(await lm.loadAdapter(ADAPTER)).toBe("default")
    const adapted = await logits()
    expect(adapted).not.toEqual(base)
    await lm.loadAdapter(await scaled(-1), { name: "minus" })
    expect(names()).toEqual(["default on", "minus on"])
    await lm.setAdapters(["default"])
    expect(await logits()).toEqual(adapted)
    await lm.setAdapters([])
    expect(names()).toEqual(["default off", "minus off"])
    expect(await logits()).toEqual(base)
    await lm.removeAdapter("default")
    await lm.removeAdapter("minus")
    expect(names()).toEqual([])
    expect(await logits()).toEqual(base)
    expect(lm.memory.weights).toBe(bytes)
  })

  test("add up: one twice is one with twice its scale, and one against its opposite is the base", async () => {
    const base = await open()
    await lm.loadAdapter(ADAPTER, { name: "a" })
    await lm.loadAdapter(ADAPTER, { name: "b" })
    const both = await logits()
    await lm.setAdapters([])
    await lm.loadAdapter(await scaled(2), { name: "double" })
    expectClose(both, await logits(), { absolute: 1e-4 }, { what: "a and b against the double" })
    await lm.loadAdapter(await scaled(-2), { name: "opposite" })
    expectClose(await logits(), base, { absolute: 1e-4 }, { what: "double and opposite" })
  })

  test("with B = 0 give the base's logits to the bit", async () => {
    const base = await open()
    const zero = await variant(({ config, modules }) => {
      const empty = [...modules].map(([path, module]) => [path, { ...module, b: module.b.map(() => 0) }] as const)
      return { config, modules: new Map(empty) }
    })
    await lm.loadAdapter(zero)
    expect(await logits()).toEqual(base)
  })

  test("decode as they prefill", async () => {
    await open()
    await lm.loadAdapter(ADAPTER)
    const answer = lm.generate(IDS, { temperature: 0, maxTokens: 6, ignoreEos: true })
    for await (const _ of answer);
    const all = [...IDS, ...answer.tokens]
    const { data, shape } = await lm.logits(all, { last: 7 })
    const V = shape[1]!
    const best = answer.tokens.map((_, i) => {
      const row = data.subarray(i * V, (i + 1) * V)
      return row.indexOf(Math.max(...row))
    })
    expect(answer.tokens).toEqual(best)
  })

  test("for another base are refused by the layer that does not fit", async () => {
    lm = await load(fixture("goldens/tiny-gemma2"), { device: testDeviceKind(), context: 64 })
    await expect(lm.loadAdapter(ADAPTER)).rejects.toThrow(/is the adapter for another base\?/)
    expect(names()).toEqual([])
  })

  test("are called by names that are theirs alone", async () => {
    await open()
    await lm.loadAdapter(ADAPTER, { name: "a" })
    await expect(lm.loadAdapter(ADAPTER, { name: "a" })).rejects.toThrow("adapter: a is loaded already")
    await expect(lm.setAdapters(["b"])).rejects.toThrow("adapter: b is not loaded, expected one of a")
    await expect(lm.removeAdapter("b")).rejects.toThrow(/b is not loaded/)
    await expect(lm.loadAdapter(fixture(NAME))).rejects.toThrow(/adapter_config.json is missing/)
  })

  test("have gradients under PEFT's names", async () => {
    await open()
    await lm.loadAdapter(ADAPTER)
    const key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    const { gradients } = await lm.lossAndGradients(IDS.slice(0, 24), { wrt: [key] })
    expect(gradients.get(key)).toHaveLength(4 * 64)
  })
})
