import {
  compress,
  type Dataset,
  distill,
  inputMoments,
  type LanguageModel,
  load,
  memoryStore,
  open,
  type TuneOptions,
  tune,
} from "../../src/index.ts"
import { pathFolder } from "../../src/platform/node_files.ts"
import { functionApproximation } from "../../src/train/low_rank_init.ts"
import { Random } from "../../src/train/random.ts"
import { dataset, device, STORYTELLER, seed, values } from "./arguments.ts"
import { follow, heldOutLoss, heldOutOf } from "./follow.ts"

/** The second moments of a model's inputs over the first stories. */
async function storyMoments(lm: LanguageModel, data: Dataset) {
  const texts = await Promise.all(Array.from({ length: 64 }, (_, i) => data.read(i)))
  return inputMoments(
    lm,
    texts.map((record) => lm.encode("text" in record ? record.text : "").slice(0, 512)),
  )
}

/** Storyteller at several ranks, plain and calibrated; and what function approximation gains on a random weight. */
export async function ranks() {
  const data = await dataset()
  const options: TuneOptions = { method: "full", batch: 4, context: 128, heldOut: 32, heldOutFrom: "end", seed }
  const base = await load(undefined, { device, context: 512, dtype: "f32" })
  const moments = await storyMoments(base, data)
  const rows: object[] = [{ rule: "base", heldOut: await heldOutLoss(base, data, options) }]
  const { description } = base.device
  await base.dispose()
  for (const rank of [{ fraction: 0.25 }, { fraction: 0.5 }, { energy: 0.9 }]) {
    for (const calibration of [undefined, moments]) {
      const store = memoryStore()
      const with_ = { rank, ...(calibration && { moments: calibration }) }
      const { bytesBefore, bytesAfter } = await compress(await open(pathFolder(STORYTELLER)), store, with_)
      const lm = await load(store, { device, context: 64, dtype: "f32" })
      const heldOut = await heldOutLoss(lm, data, options)
      rows.push({ rule: rank, calibrated: calibration !== undefined, bytesBefore, bytesAfter, heldOut })
      await lm.dispose()
    }
  }
  const random = new Random(1)
  const shape = [48, 32] as const
  const weight = Float64Array.from({ length: shape[0] * shape[1] }, () => random.normal() * shape[1] ** -0.5)
  const objectives = [4, 8, 16, 24].flatMap((rank) =>
    (["relu", "gelu_tanh", "silu"] as const).map((activation) => {
      const { objective, spectralObjective } = functionApproximation(weight, shape, rank, { activation })
      return { rank, activation, spectralObjective, objective }
    }),
  )
  return { run: "ranks", device: description, rows, objectives }
}

/** Storyteller's layers at a quarter of their smaller side, and trained again. */
export async function compressed() {
  const data = await dataset()
  const { steps = "300", rate, method: how } = values
  const options: TuneOptions = {
    method: "full",
    steps: Number(steps),
    batch: 4,
    context: 128,
    rate: Number(rate),
    heldOut: 32,
    heldOutFrom: "end",
    evaluateEvery: 50,
    seed,
  }
  const base = await load(undefined, { device, context: 512, dtype: "f32" })
  const moments = await storyMoments(base, data)
  const { description } = base.device
  const result = {
    run: "compress",
    device: description,
    rank: 0.25,
    heldOut: { base: await heldOutLoss(base, data, options) } as Record<string, number>,
    bytes: {} as Record<string, number>,
  }
  await base.dispose()
  for (const [name, calibration] of [["svd", undefined] as const, ["calibrated", moments] as const]) {
    const store = memoryStore()
    const checkpoint = await open(pathFolder(STORYTELLER))
    const { bytesBefore, bytesAfter } = await compress(checkpoint, store, {
      rank: { fraction: 0.25 },
      ...(calibration && { moments: calibration }),
    })
    Object.assign(result.bytes, { base: bytesBefore, compressed: bytesAfter })
    const lm = await load(store, { device, context: 64, dtype: "f32" })
    result.heldOut[name] = await heldOutLoss(lm, data, options)
    if (name === "calibrated") {
      const teacher = how === "distill" ? await load(undefined, { context: 64, beside: lm }) : undefined
      const run = teacher ? distill(lm, teacher, data, options) : tune(lm, data, options)
      const { curve, seconds } = await follow(run, "storyteller at half its size")
      await teacher?.dispose()
      result.heldOut.trained = heldOutOf(curve).at(-1)![1]!
      Object.assign(result, { how, steps: options.steps, rate: options.rate, curve: heldOutOf(curve), seconds })
    }
    await lm.dispose()
  }
  return result
}
