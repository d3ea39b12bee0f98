// Measures load, prefill and decode, and appends a row per model to bench/results. Usage:
//   npm run bench -- [--device auto|gpu|software|lavapipe|swiftshader] [--models storyteller,270m,1b]
//                    [--dtype stored|bf16|q8|q4] [--repeats 3]
import { rm } from "node:fs/promises"
import { loadavg } from "node:os"
import { parseArgs } from "node:util"
import { type DeviceKind, type LanguageModel, type LoadOptions, load, type ModelLocation } from "../src/index.ts"
import { Device } from "../src/kernels/device.ts"
import { cacheBytes } from "../src/model/cost.ts"
import { findNodeAdapter } from "../src/platform/node_adapter.ts"
import { type Spread, spread } from "../test/helpers/decode_timing.ts"
import { random1b } from "../test/helpers/random_1b.ts"
import { writeRandom270m } from "../test/helpers/random_270m.ts"
import { copyBandwidth } from "./bandwidth.ts"
import { circumstances, record } from "./row.ts"

const { values } = parseArgs({
  options: {
    device: { type: "string", default: "auto" },
    models: { type: "string", default: "storyteller,270m" },
    dtype: { type: "string", default: "stored" },
    repeats: { type: "string", default: "3" },
  },
})
const device = values.device as DeviceKind
const dtype = values.dtype as NonNullable<LoadOptions["dtype"]>
const repeats = Number(values.repeats)
const PREFILLS = [64, 512]
const DECODE_TOKENS = 64

async function measure(model: string, location: ModelLocation | undefined, copyRate: number) {
  const loadAverage = loadavg()[0]
  const loads: number[] = []
  let lm: LanguageModel | undefined
  let grownBytes = 0 // of the process, while it is loaded for the first time
  for (let i = 0; i < repeats; i++) {
    await lm?.dispose()
    const before = process.memoryUsage().rss
    const onProgress = () => {
      if (i === 0) grownBytes = Math.max(grownBytes, process.memoryUsage().rss - before)
    }
    const began = performance.now()
    lm = await load(location, { device, context: 1024, dtype, onProgress })
    loads.push(performance.now() - began)
  }
  if (!lm) throw new RangeError(`--repeats: is ${values.repeats}, expected at least 1`)
  const V = lm.config.vocabSize
  let prompts = 0 // each begins anew, or what was computed of the one before would be used again
  const prompt = (length: number) => {
    const first = 7 + (prompts++ % (V - 7))
    return [2, first, ...Array.from({ length: length - 2 }, (_, i) => 7 + ((i * 7919) % (V - 7)))]
  }
  const run = async (length: number, maxTokens: number) => {
    const answer = lm.generate(prompt(length), { temperature: 0, maxTokens, ignoreEos: true })
    for await (const _ of answer);
    return answer.timings
  }
  await run(PREFILLS.at(-1)! + 1, 2) // compiles and warms up
  const prefill: Record<string, Spread> = {}
  for (const length of PREFILLS) {
    const rates: number[] = []
    for (let i = 0; i < repeats; i++) rates.push((await run(length + 1, 1)).prefillTokensPerSecond)
    prefill[length] = spread(rates)
  }
  const decode: number[] = []
  const host: number[] = []
  for (let i = 0; i < repeats; i++) {
    const timings = await run(33, DECODE_TOKENS)
    decode.push(timings.decodeTokensPerSecond)
    host.push(timings.hostMsPerToken)
  }
  // What a decode step must read: every weight (the tied embedding is the head) and the keys and values so far.
  const bytesPerToken =
    lm.memory.weights + cacheBytes(lm.config, 33 + DECODE_TOKENS / 2, { chunk: 0, bytesPerElement: 4 })
  const decodeSpread = spread(decode)
  const row = {
    ...circumstances(lm.device, loadAverage),
    model,
    dtype,
    context: lm.context,
    loadMs: spread(loads),
    loadGrownBytes: grownBytes,
    prefillTokensPerSecond: prefill,
    decodeTokensPerSecond: decodeSpread,
    hostMsPerToken: spread(host),
    dispatchesPerToken: lm.dispatchesPerToken,
    gpuBytes: lm.memory,
    bytesPerToken,
    copyBytesPerSecond: copyRate,
    percentOfCopyBandwidth: (100 * bytesPerToken * decodeSpread.median) / copyRate,
  }
  await lm.dispose()
  return row
}

/** A model by its name here, and how to be rid of what was written for it. */
async function found(model: string): Promise<{ location?: ModelLocation; remove?: () => Promise<void> }> {
  if (model === "storyteller") return {}
  if (model === "1b") return { location: await random1b() }
  if (model !== "270m") throw new RangeError(`--models: name is ${model}, expected storyteller, 270m or 1b`)
  const { folder } = await writeRandom270m()
  return { location: folder, remove: () => rm(folder, { recursive: true, force: true }) }
}

const gpu = await Device.open(await findNodeAdapter(device))
const copyRate = await copyBandwidth(gpu)
gpu.dispose()
for (const model of values.models.split(",")) {
  const { location, remove } = await found(model)
  try {
    const row = await measure(model, location, copyRate)
    await record("generate", row)
  } finally {
    await remove?.()
  }
}
