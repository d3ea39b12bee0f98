// Measures load, prefill and decode, and appends a row per model to bench/results. Usage:
//   npm run bench -- [--device auto|gpu|software|lavapipe|swiftshader] [--models storyteller,270m] [--repeats 3]
import { appendFile, mkdir, rm } from "node:fs/promises"
import { cpus } from "node:os"
import { parseArgs } from "node:util"
import { type DeviceKind, type LanguageModel, load } from "../src/index.ts"
import { Device } from "../src/kernels/device.ts"
import { cacheBytes } from "../src/model/cost.ts"
import { findNodeAdapter } from "../src/platform/node_adapter.ts"
import { type Spread, spread } from "../test/helpers/decode_timing.ts"
import { writeRandom270m } from "../test/helpers/random_270m.ts"
import { copyBandwidth } from "./bandwidth.ts"
import { commit } from "./commit.ts"

const { values } = parseArgs({
  options: {
    device: { type: "string", default: "auto" },
    models: { type: "string", default: "storyteller,270m" },
    repeats: { type: "string", default: "3" },
  },
})
const device = values.device as DeviceKind
const repeats = Number(values.repeats)
const PREFILLS = [64, 512]
const DECODE_TOKENS = 64

const rounded = (_: string, value: unknown) => (typeof value === "number" ? Number(value.toPrecision(4)) : value)

async function measure(model: string, folder: string | undefined, copyRate: number) {
  const loads: number[] = []
  let lm: LanguageModel | undefined
  for (let i = 0; i < repeats; i++) {
    await lm?.dispose()
    const began = performance.now()
    lm = await load(folder, { device, context: 1024 })
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
    commit: commit(),
    date: new Date().toISOString(),
    runtime: `node ${process.versions.node}`,
    device: lm.device.description,
    software: lm.device.software,
    cpu: `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}`,
    model,
    context: lm.context,
    loadMs: spread(loads),
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

const gpu = await Device.open(await findNodeAdapter(device))
const copyRate = await copyBandwidth(gpu)
gpu.dispose()
await mkdir(new URL("results/", import.meta.url), { recursive: true })
for (const model of values.models.split(",")) {
  const random = model === "270m" ? await writeRandom270m() : undefined
  try {
    const row = await measure(model, random?.folder, copyRate)
    await appendFile(new URL("results/generate.jsonl", import.meta.url), `${JSON.stringify(row, rounded)}\n`)
    console.log(JSON.stringify(row, rounded, 2))
  } finally {
    if (random) await rm(random.folder, { recursive: true, force: true })
  }
}
