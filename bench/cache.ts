// Measures what keys and values in eight bits do to a model's predictions, and appends a row for each length of context to
// bench/results: perplexity, KL divergence and agreement with the same model and a cache in f32, and how far logits are off at most.
// Short contexts are stories, long ones stories behind one another. Usage:
//   npm run bench:cache -- --data stories.jsonl.gz [--model DIR] [--dtype stored] [--device auto|gpu|software|lavapipe|swiftshader]
//     [--held-out 128]
// The data: one JSON object with a "text" a line, gzipped or not.
import { parseArgs } from "node:util"
import {
  type DeviceKind,
  divergence,
  type LanguageModel,
  load,
  loadBytes,
  open,
  type WeightPrecision,
} from "../src/index.ts"
import { circumstances, record } from "./row.ts"
import { readTexts } from "./texts.ts"

const { values } = parseArgs({
  options: {
    data: { type: "string" },
    model: { type: "string" },
    dtype: { type: "string", default: "stored" },
    device: { type: "string", default: "auto" },
    "held-out": { type: "string", default: "128" },
  },
})
if (values.data === undefined) throw new RangeError("--data: is missing, expected a file of stories")
const CONTEXTS = [512, 2048]
const [device, dtype, heldOut] = [
  values.device as DeviceKind,
  values.dtype as WeightPrecision,
  Number(values["held-out"]),
]

/** Stories one by one, or so many behind one another that a context is full. */
function sequencesOf(lm: LanguageModel, texts: readonly string[], context: number): number[][] {
  const stories = texts.map((text) => lm.encode(text))
  if (context === CONTEXTS[0]) return stories.map((ids) => ids.slice(0, context))
  const all = stories.flat()
  return Array.from({ length: Math.floor(all.length / context) }, (_, i) => all.slice(i * context, (i + 1) * context))
}

/** How far logits are off at most, and the spread that they have. */
async function logitError(lm: LanguageModel, reference: LanguageModel, ids: readonly number[]) {
  const [own, other] = [(await lm.logits(ids)).data, (await reference.logits(ids)).data]
  let most = 0
  let squares = 0
  for (const [i, logit] of other.entries()) {
    most = Math.max(most, Math.abs(own[i]! - logit))
    squares += (own[i]! - logit) ** 2
  }
  return { mostLogitError: most, rmsLogitError: Math.sqrt(squares / other.length) }
}

const texts = (await readTexts(values.data, heldOut)).slice(-heldOut)
const checkpoint = await open(values.model)
const positions = CONTEXTS.filter((context) => context <= checkpoint.config.maxPositions)
for (const context of positions) {
  const reference = await load(values.model, { device, dtype, context })
  const lm = await load(values.model, { device, dtype, context, cacheDtype: "q8", beside: reference })
  const sequences = sequencesOf(reference, texts, context)
  const { perplexity, reference: perplexityF32, ...rest } = await divergence(lm, reference, sequences)
  const result = {
    ...circumstances(lm.device),
    model: values.model ?? "storyteller",
    dtype,
    cacheDtype: "q8",
    context,
    cacheBytes: loadBytes(checkpoint, { context, cacheDtype: "q8" }).cache,
    cacheBytesF32: loadBytes(checkpoint, { context }).cache,
    perplexity,
    perplexityF32,
    morePercent: 100 * (perplexity / perplexityF32 - 1),
    ...rest,
    ...(await logitError(lm, reference, sequences.at(-1)!)),
  }
  await record("cache", result)
  await lm.dispose()
  await reference.dispose()
}
await checkpoint.close()
