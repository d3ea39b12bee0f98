// Measures generation with a draft beside generation without one, and appends a row to bench/results. Each round draws the same
// text alone and with each number of drafted tokens, in turns. With --draft-layers the model has Gemma 3 270M's shape but a
// smaller vocabulary, and random weights of which the layers behind those add nothing: the draft is those layers, and always
// right, which is the most that a draft of that size can give. Usage:
//   npm run bench:speculation -- [--model DIR] [--dtype stored|f32|bf16|f16|q8|q4] [--draft DIR] [--draft-dtype q4]
//     [--draft-tokens 1,2,4,8] [--tokens 128] [--repeats 5] [--temperature 0] [--device auto|gpu|software|lavapipe|swiftshader]
//     [--prompt "Once upon a time"] [--draft-layers 2]
import { loadavg } from "node:os"
import { parseArgs } from "node:util"
import { type DeviceKind, type GenerationOptions, type LoadOptions, load } from "../src/index.ts"
import { parseConfig } from "../src/model/config.ts"
import { writeSafetensors } from "../src/model/safetensors.ts"
import { type Folder, memoryFolder } from "../src/model/source.ts"
import { weightTable } from "../src/model/weights.ts"
import { spread } from "../test/helpers/decode_timing.ts"
import { gaussians } from "../test/helpers/random_folder.ts"
import { circumstances, record } from "./row.ts"

const { values } = parseArgs({
  options: {
    model: { type: "string" },
    dtype: { type: "string", default: "stored" },
    draft: { type: "string" },
    "draft-dtype": { type: "string", default: "q4" },
    "draft-tokens": { type: "string", default: "1,2,4,8" },
    tokens: { type: "string", default: "128" },
    repeats: { type: "string", default: "5" },
    temperature: { type: "string", default: "0" },
    device: { type: "string", default: "auto" },
    prompt: { type: "string", default: "Once upon a time" },
    "draft-layers": { type: "string" },
  },
})
const layers = values["draft-layers"] === undefined ? undefined : Number(values["draft-layers"])
type Precision = NonNullable<LoadOptions["dtype"]>
const [maxTokens, repeats, temperature] = [values.tokens, values.repeats, values.temperature].map(Number) as [
  number,
  number,
  number,
]
const target = await load(layers ? await randomLayers(18, layers) : values.model, {
  device: values.device as DeviceKind,
  dtype: values.dtype as Precision,
})
const draftDtype = values["draft-dtype"] as Precision
const draft = await load(layers ? await randomLayers(layers, layers) : values.draft, {
  dtype: draftDtype,
  context: target.context,
  beside: target,
})

/** Tokens drawn in a second, and of those drafted the accepted part. */
async function once(options: GenerationOptions): Promise<{ rate: number; acceptance: number }> {
  const prompt = layers ? [2, 3, 4] : values.prompt
  const answer = target.generate(prompt, { temperature, seed: 1, maxTokens, ignoreEos: true, ...options })
  for await (const _ of answer);
  const { decodeTokensPerSecond, draftedTokens, acceptedTokens } = answer.timings
  return { rate: decodeTokensPerSecond, acceptance: draftedTokens > 0 ? acceptedTokens / draftedTokens : 0 }
}

const ways = [undefined, ...values["draft-tokens"].split(",").map(Number)]
const rates = ways.map((): number[] => [])
const acceptances = ways.map(() => 0)
const loadAverage = loadavg()[0]
for (let round = -1; round < repeats; round++) {
  for (const [i, draftTokens] of ways.entries()) {
    const { rate, acceptance } = await once(draftTokens === undefined ? {} : { draft, draftTokens })
    if (round < 0) continue // compiled and warmed up
    rates[i]!.push(rate)
    acceptances[i] = acceptance
  }
}
const row = {
  ...circumstances(target.device, loadAverage),
  model: layers ? "18 layers" : (values.model ?? "storyteller"),
  dtype: values.dtype,
  draft: layers ? `the first ${layers}, the others adding nothing` : (values.draft ?? "storyteller"),
  draftDtype,
  tokens: maxTokens,
  temperature,
  tokensPerSecond: spread(rates[0]!),
  helped: ways.slice(1).map((draftTokens, i) => {
    return { draftTokens, acceptance: acceptances[i + 1]!, tokensPerSecond: spread(rates[i + 1]!) }
  }),
}
await draft.dispose()
await target.dispose()
await record("speculation", row)

/** Random weights in bf16; what the layers from `some` on give is multiplied by zero. */
async function randomLayers(all: number, some: number): Promise<Folder> {
  const config = {
    model_type: "gemma3_text",
    vocab_size: 16384,
    hidden_size: 640,
    intermediate_size: 2048,
    num_hidden_layers: all,
    num_attention_heads: 4,
    num_key_value_heads: 1,
    head_dim: 256,
    sliding_window: 512,
    max_position_embeddings: 4096,
  }
  const block = gaussians(2 ** 20)
  const weight = (name: string, shape: readonly number[]): Uint16Array<ArrayBuffer> => {
    const values = new Uint16Array(shape.reduce((product, n) => product * n, 1))
    if (shape.length === 1) {
      const layer = Number(/layers\.(\d+)\.post_/.exec(name)?.[1] ?? -1)
      return values.fill(layer >= some ? 0xbf80 : 0) // -1, and norms multiply by 1 + weight
    }
    const from = name.length * 977 + Number(/\d+/.exec(name)?.[0] ?? 0) * 7919 // elsewhere in the block for each
    return values.map((_, i) => block[(from + i) % block.length]!)
  }
  const entries = weightTable(parseConfig(config, "config.json")).map(({ name, shape }) => {
    return {
      name: `model.${name}`,
      dtype: "BF16" as const,
      shape: [...shape],
      bytes: new Uint8Array(weight(name, shape).buffer),
    }
  })
  const chunks: Uint8Array[] = []
  for await (const chunk of writeSafetensors(entries)) chunks.push(chunk)
  return memoryFolder(
    `${all} layers`,
    new Map([
      ["config.json", new TextEncoder().encode(JSON.stringify(config))],
      ["model.safetensors", Buffer.concat(chunks)],
    ]),
  )
}
