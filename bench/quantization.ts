// Measures what rounding to eight and four bits does to a model's predictions, and appends a row for each way to bench/results:
// as it is stored, rounded at load, and rounded with calibration on the first stories of some data. Perplexity, KL divergence and
// agreement are on its last stories. Usage:
//   npm run bench:quantization -- --data stories.jsonl.gz [--model DIR] [--device auto|gpu|software|lavapipe|swiftshader]
//     [--calibrate 256] [--held-out 128]
// The data: one JSON object with a "text" a line, gzipped or not.
import { appendFile, mkdir, readFile } from "node:fs/promises"
import { parseArgs } from "node:util"
import { gunzipSync } from "node:zlib"
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
import { commit } from "./commit.ts"

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

async function readTexts(path: string): Promise<string[]> {
  const bytes = await readFile(path)
  const text = (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8")
  const texts = text.split("\n").flatMap((line) => (line.trim() === "" ? [] : [JSON.parse(line).text as string]))
  if (texts.length >= calibrate + heldOut) return texts
  throw new RangeError(`--data: has ${texts.length} texts, expected at least ${calibrate + heldOut}`)
}

const texts = await readTexts(values.data)
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
    commit: commit(),
    date: new Date().toISOString(),
    runtime: `node ${process.versions.node}`,
    device: lm.device.description,
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

const rounded = (_: string, value: unknown) =>
  typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value
const show = async (result: object) => {
  await mkdir(new URL("results/", import.meta.url), { recursive: true })
  await appendFile(new URL("results/quantization.jsonl", import.meta.url), `${JSON.stringify(result, rounded)}\n`)
  console.log(JSON.stringify(result, rounded))
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
