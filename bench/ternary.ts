// Times a MatMul-free model of MMfreeLM-370M's shape and appends a row to bench/results: the products of a decode step in
// ternary and in bf16 (each with the norm before it, and alone), taken in turn; whole decode steps near the beginning and far
// from it, taken in turn; prefill. Usage:
//   npm run bench:ternary -- [--device auto|gpu|software|lavapipe|swiftshader] [--rounds 25]
import { loadavg } from "node:os"
import { parseArgs } from "node:util"
import { type DeviceKind, type Folder, type LanguageModel, load } from "../src/index.ts"
import { internals } from "../src/session.ts"
import { type Products, type Spread, spread, timeDecode, timeProducts } from "../test/helpers/decode_timing.ts"
import { randomHgrn } from "../test/helpers/random_hgrn.ts"
import { copyBandwidth } from "./bandwidth.ts"
import { circumstances, record } from "./row.ts"

const { values } = parseArgs({
  options: { device: { type: "string", default: "auto" }, rounds: { type: "string", default: "25" } },
})
const rounds = Number(values.rounds)
if (!(rounds >= 1)) throw new RangeError(`--rounds: is ${values.rounds}, expected at least 1`)
const CONTEXT = 16_384
const POSITIONS = [16, 16_000]
const PREFILL = 128
const PREFILLS = 3

async function prefillRate(lm: LanguageModel): Promise<Spread> {
  const V = lm.config.vocabSize
  const rates: number[] = []
  for (let i = 0; i <= PREFILLS; i++) {
    // No two begin alike, or what was computed of the one before would be used again.
    const prompt = Array.from({ length: PREFILL + 1 }, (_, t) => 7 + (((t + i) * 7919) % (V - 7)))
    const answer = lm.generate(prompt, { temperature: 0, maxTokens: 1, ignoreEos: true })
    for await (const _ of answer);
    if (i > 0) rates.push(answer.timings.prefillTokensPerSecond) // the first compiles
  }
  return spread(rates)
}

async function measure(folder: Folder) {
  const loadAverage = loadavg()[0]
  const began = performance.now()
  const lm = await load(folder, { device: values.device as DeviceKind, context: CONTEXT, chunk: PREFILL })
  const loadMs = performance.now() - began
  const { model } = internals(lm)
  const prefill = await prefillRate(lm)
  const decode = await timeDecode(model, POSITIONS, rounds)
  const gpuBytes = lm.memory // before there is what only the bench needs
  const copyRate = await copyBandwidth(model.device)
  const weights = [...model.packed.values()].reduce((sum, { shape: [N, C] }) => sum + N * C, 0)
  const rates = ({ ms, bytes }: Products) => ({
    ms,
    bytesPerWeight: bytes / weights,
    gbPerSecond: bytes / ms.median / 1e6,
    percentOfCopyBandwidth: (100 * bytes * 1000) / ms.median / copyRate,
  })
  const { ternary, ternaryAlone, bf16, bf16Alone } = await timeProducts(model, rounds)
  const row = {
    ...circumstances(lm.device, loadAverage),
    model: "MMfreeLM-370M's shape",
    parameters: lm.parameters.total,
    ternaryWeights: weights,
    context: CONTEXT,
    rounds,
    loadMs,
    gpuBytes,
    copyBytesPerSecond: copyRate,
    productsOfOneToken: {
      ternary: rates(ternary),
      ternaryAlone: rates(ternaryAlone),
      bf16: rates(bf16),
      bf16Alone: rates(bf16Alone),
      bf16OverTernary: bf16.ms.median / ternary.ms.median,
      bf16OverTernaryAlone: bf16Alone.ms.median / ternaryAlone.ms.median,
    },
    decodeStepMs: Object.fromEntries(POSITIONS.map((position, i) => [position, decode[i]])),
    prefillTokensPerSecond: { [PREFILL]: prefill },
  }
  await lm.dispose()
  return row
}

const row = await measure(await randomHgrn())
await record("ternary", row)
