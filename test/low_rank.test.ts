import { describe, expect, test } from "vitest"
import {
  compress,
  type Folder,
  inputMoments,
  type LanguageModel,
  type LoadOptions,
  memoryFolder,
  memoryStore,
  open as openCheckpoint,
  randomCheckpoint,
  type TuneOptions,
  tune,
} from "../src/index.ts"
import { readValues } from "../src/model/parameter.ts"
import { readLinear } from "../src/model/read_linear.ts"
import { type SafetensorsEntry, writeSafetensors } from "../src/model/safetensors.ts"
import { internals } from "../src/session.ts"
import { expectClose } from "./helpers/compare.ts"
import { STORIES } from "./helpers/stories.ts"
import {
  expectToGoOn,
  IDS as FEW,
  modelsOnOneDevice,
  randomWeights,
  SHORT_RUN,
  TINY_GEMMA,
} from "./helpers/training.ts"
import { product, transpose } from "./reference/low_rank.ts"
import { productDecay } from "./reference/product_decay.ts"

const LOW_RANK = { ...TINY_GEMMA, low_rank: { modules: ["gate_proj", "up_proj", "down_proj", "o_proj"], rank: 0.25 } }
const EXPERTS = { modules: ["gate_proj", "down_proj"], experts: 3, rank: 8 }
const IDS = [...FEW, 17, 18]
const GATE = "model.layers.1.mlp.gate_proj"
const RUN: TuneOptions = { ...SHORT_RUN, evaluateEvery: 0, method: "full" }

describe("low-rank models", () => {
  const openModel = modelsOnOneDevice()

  async function open(config: object | Folder, options: LoadOptions = {}): Promise<LanguageModel> {
    return openModel("open" in config ? (config as Folder) : await randomWeights(config), options)
  }

  /** The same model with every linear layer as one matrix. */
  async function dense(lm: LanguageModel): Promise<Folder> {
    const { device, parameters, network } = internals(lm).model
    const entries: SafetensorsEntry[] = []
    const add = (name: string, shape: readonly number[], values: Float32Array) => {
      entries.push({ name, dtype: "F32", shape, bytes: new Uint8Array(Float32Array.from(values).buffer) })
    }
    for (const [name, { variable, shape }] of parameters) {
      if (!/_proj\./.test(name)) add(name, shape, await readValues(device, variable, shape))
    }
    for (const [path, linear] of network.linears) {
      add(`${path}.weight`, linear.shape, await readLinear(device, path, linear))
    }
    const chunks: Uint8Array[] = []
    for await (const chunk of writeSafetensors(entries)) chunks.push(chunk)
    const config = new TextEncoder().encode(JSON.stringify(TINY_GEMMA))
    return memoryFolder(
      "dense",
      new Map([
        ["config.json", config],
        ["model.safetensors", Buffer.concat(chunks)],
      ]),
    )
  }

  test("compute what their products as one matrix would", async () => {
    const lm = await open(LOW_RANK)
    const kinds = [...internals(lm).model.network.linears.values()].map(({ weight }) => weight.kind)
    expect(kinds.filter((kind) => kind === "low-rank").length).toBe(8)
    const one = await lm.logits(IDS)
    const whole = await open(await dense(lm))
    expectClose(one.data, (await whole.logits(IDS)).data, { relative: 1e-5, absolute: 1e-4 }, { what: "logits" })
    expect(lm.parameters.total).toBeLessThan(whole.parameters.total)
  })

  test("have the gradients of their factors: dW v^T and u^T dW", async () => {
    const lm = await open(LOW_RANK)
    const own = await lm.lossAndGradients(IDS)
    const { device, parameters } = internals(lm).model
    const read = async (name: string) => {
      const { variable, shape } = parameters.get(name)!
      return readValues(device, variable, shape)
    }
    const [u, v] = [await read(`${GATE}.u.weight`), await read(`${GATE}.v.weight`)]
    const { gradients } = await (await open(await dense(lm))).lossAndGradients(IDS, { wrt: [`${GATE}.weight`] })
    const dw = gradients.get(`${GATE}.weight`)!
    const [N, R, C] = [48, 8, 32]
    const du = product(dw, transpose(v, [R, C]), [N, C, R])
    const dv = product(transpose(u, [N, R]), dw, [R, N, C])
    expectClose(own.gradients.get(`${GATE}.u.weight`)!, du, { absolute: 1e-5 }, { what: "du" })
    expectClose(own.gradients.get(`${GATE}.v.weight`)!, dv, { absolute: 1e-5 }, { what: "dv" })
  })

  test("generate, and say how many parameters they have", async () => {
    const lm = await open(LOW_RANK)
    const answer = lm.generate([2, 100], { maxTokens: 8, temperature: 0, ignoreEos: true })
    for await (const _ of answer);
    expect(answer.tokens.length).toBe(8)
    const { parameters } = internals(lm).model
    const counted = [...parameters.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
    expect(lm.parameters.total).toBe(counted)
  })

  test.each([
    ["low rank", LOW_RANK],
    ["experts", { ...TINY_GEMMA, low_rank_experts: EXPERTS }],
    ["sigmoid experts", { ...TINY_GEMMA, low_rank_experts: { ...EXPERTS, gate: "sigmoid", activation: "identity" } }],
  ])("learn from random weights, and go on to the bit: %s", async (_, config) => {
    const losses = await expectToGoOn(() => open(config, { dtype: "f32" }), { ...RUN, evaluateEvery: 3 })
    expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.3)
  })

  test("decay the product instead of the factors", async () => {
    const [rate, decay] = [0.1, 0.5]
    const stepped = async (productDecay: number) => {
      const lm = await open(LOW_RANK, { dtype: "f32" })
      const { device, parameters } = internals(lm).model
      const read = async (side: string) => {
        const { variable, shape } = parameters.get(`${GATE}.${side}.weight`)!
        return readValues(device, variable, shape)
      }
      const before = [await read("u"), await read("v")] as const
      const plain = {
        optimizer: "sgd",
        momentum: 0,
        weightDecay: 0,
        maxNorm: 0,
        schedule: "constant",
        warmup: 0,
      } as const
      for await (const _ of tune(lm, STORIES, { ...RUN, ...plain, steps: 1, rate, productDecay }));
      return { before, after: [await read("u"), await read("v")] as const }
    }
    const [without, withDecay] = [await stepped(0), await stepped(decay)]
    const { du, dv } = productDecay(...without.before, [48, 8, 32])
    const moved = (i: 0 | 1) => without.after[i].map((value, k) => (value - withDecay.after[i][k]!) / (rate * decay))
    expectClose(moved(0), du, { absolute: 2e-5 }, { what: "du" })
    expectClose(moved(1), dv, { absolute: 2e-5 }, { what: "dv" })
  })

  test("take LoRA and LaMDA, and refuse DoRA by name", async () => {
    const lm = await open(LOW_RANK)
    const adapter = { ...RUN, rank: 4, rate: 2e-2, targets: ["gate_proj"] } as const
    for (const method of ["lora", "lamda"] as const) {
      const losses: number[] = []
      for await (const { loss } of tune(lm, STORIES, { ...adapter, method, name: method })) {
        if (loss !== undefined) losses.push(loss)
      }
      expect(losses.at(-1)!).toBeLessThan(losses[0]!)
    }
    const dora = async () => {
      for await (const _ of tune(lm, STORIES, { ...adapter, method: "lora", dora: true }));
    }
    await expect(dora).rejects.toThrow(
      /adapter: .*gate_proj is low-rank and the adapter is DoRA, expected a dense weight/,
    )
  })

  test("experts that all pass the same are a plain low-rank layer", async () => {
    const one = { modules: ["gate_proj"], experts: 1, rank: 8, activation: "identity" }
    const lm = await open({ ...TINY_GEMMA, low_rank_experts: one }, { dtype: "f32" })
    const { device, parameters, network } = internals(lm).model
    for (const [path, linear] of network.linears) {
      if (linear.weight.kind !== "experts") continue
      const { u, v } = linear.weight.experts
      expect(await readValues(device, parameters.get(`${path}.c.weight`)!.variable, [8, 8])).toEqual(
        Float32Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? 1 : 0)),
      )
      Object.assign(linear, { mixed: linear.weight, plain: { kind: "low-rank", u, v } })
    }
    const mixed = await lm.logits(IDS)
    for (const linear of network.linears.values())
      if ("plain" in linear) Object.assign(linear, { weight: linear.plain })
    const plain = await lm.logits(IDS)
    expectClose(mixed.data, plain.data, { absolute: 1e-5 }, { what: "logits" })
  })

  test("compress leaves experts as they are, and what it writes loads", async () => {
    const folder = await randomWeights({ ...TINY_GEMMA, low_rank_experts: EXPERTS })
    const store = memoryStore()
    const { layers } = await compress(await openCheckpoint(folder), store, { rank: { absolute: 8 } })
    expect(layers.some(({ path }) => path === GATE)).toBe(false)
    const kinds = (lm: LanguageModel) => [...internals(lm).model.network.linears].map(([, { weight }]) => weight.kind)
    const [before, after] = [kinds(await open(folder)), kinds(await open(store))]
    expect(after.filter((kind) => kind === "experts").length).toBe(before.filter((kind) => kind === "experts").length)
    expect(after).toContain("low-rank")
  })

  test("inputMoments gives the second moments of what goes into each layer", async () => {
    const lm = await open(TINY_GEMMA)
    const moments = await inputMoments(lm, [IDS, IDS.slice(0, 4)])
    const { device, parameters } = internals(lm).model
    async function ofNormed(name: string, state: number): Promise<Float64Array> {
      const norm = parameters.get(name)!
      const weight = await readValues(device, norm.variable, norm.shape)
      const expected = new Float64Array(32 * 32)
      for (const ids of [IDS, IDS.slice(0, 4)]) {
        const { data } = (await lm.hiddenStates(ids)).at(state)!
        for (let t = 0; t < ids.length; t++) {
          const x = data.subarray(32 * t, 32 * t + 32)
          const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / 32 + 1e-6)
          const y = x.map((value, i) => value * scale * (1 + weight[i]!))
          expected.forEach((sum, k) => {
            expected[k] = sum + (y[k >> 5]! * y[k & 31]!) / 14
          })
        }
      }
      return expected
    }
    expect(moments.size).toBe(15)
    const first = await ofNormed("model.layers.0.input_layernorm.weight", 0)
    expectClose(moments.get("model.layers.0.self_attn.q_proj")!, first, { absolute: 1e-5 }, { what: "moments" })
    const last = await ofNormed("model.norm.weight", -1)
    expectClose(moments.get("model.embed_tokens")!, last, { absolute: 1e-5 }, { what: "moments of the tied head" })
    expect(moments.get("model.layers.1.mlp.down_proj")!.length).toBe(48 * 48)
    await expect(inputMoments(lm, [])).rejects.toThrow("inputMoments: sequences have 0 tokens, expected at least 1")
  })

  test("may begin as the function of a dense layer: other factors behind the activation, the same elsewhere", async () => {
    const small = {
      ...LOW_RANK,
      num_hidden_layers: 1,
      layer_types: ["full_attention"],
      low_rank: { ...LOW_RANK.low_rank, rank: 4 },
    }
    const read = async (init: string) => {
      const lm = await open({ ...small, low_rank: { ...small.low_rank, init } })
      const { device, parameters } = internals(lm).model
      const values = (name: string) => {
        const { variable, shape } = parameters.get(`model.layers.0.mlp.${name}.u.weight`)!
        return readValues(device, variable, shape)
      }
      return { gate: await values("gate_proj"), up: await values("up_proj") }
    }
    const [spectral, byFunction] = [await read("spectral"), await read("function")]
    expect(byFunction.up).toEqual(spectral.up)
    expect(byFunction.gate).not.toEqual(spectral.gate)
  })

  test("a config that asks for what cannot be is refused by name", async () => {
    const refused = (key: object, message: RegExp) =>
      expect(randomCheckpoint({ ...TINY_GEMMA, ...key })).rejects.toThrow(message)
    await refused(
      { low_rank: { modules: ["lm_head"], rank: 8 } },
      /low_rank.modules has "lm_head", expected some of q_proj/,
    )
    await refused(
      { low_rank: { modules: ["q_proj"], rank: 7 } },
      /low_rank.rank is 7, expected a share below 1 or a multiple/,
    )
    await refused({ low_rank_experts: { ...EXPERTS, rank: 6 } }, /low_rank_experts.rank is 6, expected a multiple of 4/)
    await refused({ low_rank_experts: { ...EXPERTS, depth: 6 } }, /low_rank_experts.depth is 6, expected no such key/)
  })
})
