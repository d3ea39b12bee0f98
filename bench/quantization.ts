// Measures what rounding to eight and four bits does to a model's predictions, and appends a row for each way to bench/results:
// as it is stored, rounded at load, and rounded with calibration on the first stories of some data. Perplexity, KL divergence and
// agreement are on its last stories. Usage:
//   npm run bench:quantization -- --data stories.jsonl.gz [--model DIR] [--device auto|gpu|software|lavapipe|swiftshader]
//     [--calibrate 256] [--held-out 128]
// The data: one JSON object with a "text" a line, gzipped or not.
import { parseArgs } from "node:util"
import {
  type DeviceKind,
  divergence,
  type LanguageModel,
  load,
  type MemoryStore,
  memoryStore,
  momentsOnDemand,
  quantize,
} from "../src/index.ts"
import { circumstances, record } from "./row.ts"
import { readTexts } from "./texts.ts"

const { values } = parseArgs({
  options: {
    data: { type: "string" },
    model: { type: "string" },
    device: { type: "string", default: "auto" },
    calibrate: { type: "string", default: "256" },
    "held-out": { type: "string", default: "128" },
  },
})
const [calibrate, heldOut] = [Number(values.calibrate), Number(values["held-out"])]
if (values.data === undefined) throw new RangeError("--data: is missing, expected a file of stories")
const CONTEXT = 512
const device = values.device as DeviceKind

const texts = await readTexts(values.data, calibrate + heldOut)
const original = await load(values.model, { device, context: CONTEXT })
const idsOf = (some: readonly string[]) => some.map((text) => original.encode(text).slice(0, CONTEXT))
const held = idsOf(texts.slice(-heldOut))

/** A model that was rounded, and how. */
interface Way {
  readonly dtype: "q8" | "q4"
  readonly method: string
  readonly seconds?: number
  readonly bytesOfFile?: number
  readonly lm: LanguageModel
}

async function row({ dtype, method, lm, ...rest }: Omit<Way, "dtype"> & { dtype: string }) {
  const { tokens, perplexity, reference, kl, agreement } = await divergence(lm, original, held)
  return {
    ...circumstances(lm.device),
    model: values.model ?? "storyteller",
    dtype,
    method,
    ...rest,
    calibrationTexts: method === "GPTQ" ? calibrate : 0,
    bytesOnGpu: lm.memory.weights,
    heldOutTexts: heldOut,
    tokens,
    perplexity,
    morePercent: 100 * (perplexity / reference - 1),
    kl,
    agreement,
  }
}

async function calibrated(): Promise<Way> {
  const moments = momentsOnDemand(original, idsOf(texts.slice(0, calibrate)))
  const store: MemoryStore = memoryStore()
  const began = performance.now()
  const { bytesAfter } = await quantize(values.model, store, { device, dtype: "q4", moments })
  const seconds = (performance.now() - began) / 1000
  const lm = await load(store, { device, context: CONTEXT, beside: original })
  return { dtype: "q4", method: "GPTQ", seconds, bytesOfFile: bytesAfter, lm }
}

const atLoad = async (dtype: "q8" | "q4"): Promise<Way> => {
  return {
    dtype,
    method: "at load",
    lm: await load(values.model, { device, dtype, context: CONTEXT, beside: original }),
  }
}

const show = async (result: object) => {
  await record("quantization", result)
}
try {
  await show(await row({ dtype: "bf16", method: "as stored", lm: original }))
  for (const make of [() => atLoad("q8"), () => atLoad("q4"), calibrated]) {
    const way = await make()
    await show(await row(way))
    await way.lm.dispose()
  }
} finally {
  await original.dispose()
}
