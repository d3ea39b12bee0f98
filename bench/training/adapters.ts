import { rm } from "node:fs/promises"
import { type LanguageModel, load, type TuneOptions, tune } from "../../src/index.ts"
import { internals } from "../../src/session.ts"
import { averageUpdates, loraParameters } from "../../src/train/lamda.ts"
import { Tuning } from "../../src/train/tune.ts"
import { writeRandom270m } from "../../test/helpers/random_270m.ts"
import { dataset, device, kept, seed, values } from "./arguments.ts"
import { follow, heldOutOf, mean } from "./follow.ts"

/** An adapter on storyteller. */
export async function adapter() {
  const lm = await load(undefined, { device, context: 64 })
  const method = values.method as "lora" | "lamda"
  const [rank, rate] = [Number(values.rank), Number(values.rate)]
  const options: TuneOptions = {
    method,
    rank,
    rate,
    steps: Number(values.steps ?? 150),
    batch: 4,
    context: 256,
    heldOut: 4,
    evaluateEvery: 25,
    seed,
    ...kept(),
    ...(values.init && { init: values.init as "svd-sigma" }),
  }
  const { steps, curve, seconds } = await follow(
    tune(lm, await dataset(), options),
    `storyteller on fairy tales, ${method}`,
  )
  const shapes = [...internals(lm).model.network.linears.values()].map(({ shape }) => shape)
  const heldOut = heldOutOf(curve)
  const { description } = lm.device
  await lm.dispose()
  return {
    run: "tune",
    device: description,
    method,
    init: values.init,
    rank,
    rate,
    seed,
    heldOut,
    perplexity: Math.exp(steps.at(-1)!.heldOut!),
    trainedOnAverage: mean(steps.slice(1).map(({ trained }) => trained)),
    formula: method === "lora" ? loraParameters(shapes, rank) : averageUpdates(shapes, rank, 0.3),
    seconds,
  }
}

/** LoRA of rank 8 on a model of Gemma 3 270M's shape, 512 tokens a step, layers computed again. */
export async function large() {
  const { folder } = await writeRandom270m()
  let lm: LanguageModel | undefined
  try {
    lm = await load(folder, { device, context: 64 })
    const ids = Array.from({ length: 512 }, (_, i) => 7 + ((i * 7919) % 250_000))
    const row = [{ ids, labels: ids }]
    const batches = {
      next: async () => ({ rows: [row] }),
      state: () => null,
      restore() {},
      async *heldOutRows() {},
    }
    const options: TuneOptions = {
      steps: Number(values.steps ?? 3),
      batch: 1,
      context: 512,
      rank: 8,
      recompute: true,
      evaluateEvery: 0,
    }
    const tuning = new Tuning(lm, batches, options)
    const preflight = await tuning.prepare()
    const { steps, seconds } = await follow(tuning, "Gemma 3 270M's shape")
    return {
      run: "270m",
      device: lm.device.description,
      predictedPeak: preflight.peak,
      peak: lm.memory.peak,
      losses: steps.map(({ loss }) => loss),
      tokensPerSecond: (512 * steps.length) / seconds,
      seconds,
    }
  } finally {
    await lm?.dispose()
    await rm(folder, { recursive: true, force: true })
  }
}
