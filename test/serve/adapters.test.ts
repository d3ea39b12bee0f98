import { afterAll, beforeAll, describe, expect, test, vi } from "vitest"
import { type LanguageModel, memoryFolder } from "../../src/index.ts"
import { writeSafetensors } from "../../src/model/safetensors.ts"
import { serveApp } from "../../src/serve/index.ts"
import { random } from "../helpers/random_checkpoint.ts"
import { type Ask, asker, generated, loadTiny } from "./helpers.ts"

const OPTIONS = { seed: 4, temperature: 1, maxTokens: 8 }
const BODY = { prompt: "One day", seed: 4, temperature: 1, max_tokens: 8 }

/** A random LoRA adapter on a layer of the tiny model. */
async function randomAdapter(seed: number, useDora = false) {
  const next = random(seed)
  const [C, F, r] = [64, 172, 4]
  const path = "base_model.model.model.layers.2.mlp.up_proj"
  const tensor = (name: string, shape: number[], middle = 0) => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => middle + next() - 0.5)
    return { name: `${path}.${name}`, dtype: "F32" as const, shape, bytes: new Uint8Array(values.buffer) }
  }
  const tensors = [tensor("lora_A.weight", [r, C]), tensor("lora_B.weight", [F, r])]
  if (useDora) tensors.push(tensor("lora_magnitude_vector", [F], 2))
  const chunks: Uint8Array[] = []
  for await (const chunk of writeSafetensors(tensors)) chunks.push(chunk)
  const config = {
    peft_type: "LORA",
    r,
    lora_alpha: 32,
    target_modules: ["up_proj"],
    use_dora: useDora,
    layers_to_transform: [2],
  }
  const files = new Map([
    ["adapter_config.json", new TextEncoder().encode(JSON.stringify(config))],
    ["adapter_model.safetensors", Buffer.concat(chunks)],
  ])
  return memoryFolder("random adapter", files)
}

describe("adapters of a served model", () => {
  let lm: LanguageModel
  let ask: Ask
  const expected = new Map<string, string>()

  beforeAll(async () => {
    lm = await loadTiny({ sequences: 3 })
    expected.set("tiny", (await generated(lm, "One day", OPTIONS)).text)
    for (const [i, name] of ["pirate", "poet", "scholar"].entries()) {
      await lm.loadAdapter(await randomAdapter(i, name === "scholar"), { name })
      await lm.setAdapters([name])
      expected.set(name, (await generated(lm, "One day", OPTIONS)).text)
      await lm.setAdapters([])
    }
    ask = asker(lm)
  })
  afterAll(() => lm?.dispose())

  const text = async (body: object) => {
    const { json } = await ask("/v1/completions", { ...BODY, ...body })
    return json.choices[0].text
  }

  test("are models beside their base", async () => {
    const { json } = await ask("/v1/models")
    expect(json.data.map((model: { id: string; parent?: string }) => [model.id, model.parent])).toEqual([
      ["tiny", undefined],
      ["pirate", "tiny"],
      ["poet", "tiny"],
      ["scholar", "tiny"],
    ])
    expect(new Set(expected.values()).size).toBe(4)
  })

  test("are on for the requests that ask for them, however requests are mixed", async () => {
    const names = ["pirate", "tiny", "poet", "poet", "tiny", "scholar", "pirate"]
    const texts = await Promise.all(names.map((model) => text({ model })))
    expect(texts).toEqual(names.map((name) => expected.get(name)))
  })

  test("are on for all answers of a request while requests for others come between", async () => {
    const texts = async (model: string): Promise<string[]> => {
      const { json } = await ask("/v1/completions", { ...BODY, model, n: 2 })
      return json.choices.map((choice: { text: string }) => choice.text)
    }
    const names = ["pirate", "tiny", "poet", "pirate", "tiny"]
    const together = await Promise.all(names.map(texts))
    for (const [i, [first]] of together.entries()) expect(first).toBe(expected.get(names[i]!))
    for (const [i, name] of names.slice(0, 3).entries()) expect(together[i]).toEqual(await texts(name))
    expect(together[3]).toEqual(together[0])
  })

  test("are set once for requests that begin together", async () => {
    await text({})
    const set = vi.spyOn(lm, "setAdapters")
    const texts = await Promise.all(["poet", "poet", "poet", "poet"].map((model) => text({ model })))
    expect(texts).toEqual(new Array(4).fill(expected.get("poet")))
    expect(set.mock.calls).toEqual([[["poet"]]])
    set.mockRestore()
  })

  test("may be asked for by adapter too, several adding up", async () => {
    expect(await text({ model: "tiny", adapter: "poet" })).toBe(expected.get("poet"))
    expect(await text({ adapter: null })).toBe(expected.get("tiny"))
    await lm.setAdapters(["pirate", "poet"])
    const both = (await generated(lm, "One day", OPTIONS)).text
    expect(await text({ adapter: ["pirate", "poet"] })).toBe(both)
    expect(await text({})).toBe(expected.get("tiny"))
  })

  test("that cannot be on together are refused, and the next request is answered", async () => {
    const { status, json } = await ask("/v1/completions", { ...BODY, adapter: ["pirate", "scholar"] })
    expect(status).toBe(400)
    expect(json.error.message).toMatch(/expected DoRA to be alone/)
    expect(await text({})).toBe(expected.get("tiny"))
  })

  test("are asked for in one way at a time, and have names of their own", async () => {
    const { status, json } = await ask("/v1/completions", { ...BODY, model: "poet", adapter: "pirate" })
    expect({ status, param: json.error.param }).toEqual({ status: 400, param: "adapter" })
    expect(() => serveApp(lm, { id: "poet" })).toThrow(/an adapter is called poet as the model is/)
  })
})
