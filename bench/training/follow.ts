import { writeFile } from "node:fs/promises"
import {
  type Dataset,
  type LanguageModel,
  type TuneOptions,
  type TuneStep,
  type Tuning,
  tune,
} from "../../src/index.ts"
import { lossCurveSvg } from "../../src/train/curve.ts"
import type { CurvePoint } from "../../src/train/training_file.ts"
import { values } from "./arguments.ts"

export interface Followed {
  readonly steps: TuneStep[]
  readonly curve: readonly CurvePoint[]
  readonly seconds: number
}

/** Runs it to its end, telling of each measurement, and draws its loss curve where `--out` says. */
export async function follow(tuning: Tuning, title: string): Promise<Followed> {
  const began = performance.now()
  const steps: TuneStep[] = []
  for await (const step of tuning) {
    steps.push(step)
    if (step.heldOut === undefined && step.step % 10 !== 0) continue
    const { loss = Number.NaN, heldOut, tokensPerSecond } = step
    console.error(
      `${step.step} loss ${loss.toFixed(3)} held out ${heldOut?.toFixed(3) ?? ""} ${tokensPerSecond.toFixed(0)} tokens/s`,
    )
  }
  const seconds = (performance.now() - began) / 1000
  const { curve } = tuning
  if (values.out) {
    const training = curve.flatMap(({ step, loss }) => (loss === undefined ? [] : [{ step, loss }]))
    const heldOut = heldOutOf(curve).map(([step, loss]) => ({ step: step!, loss: loss! }))
    await writeFile(values.out, lossCurveSvg({ title, training, heldOut }))
  }
  return { steps, curve, seconds }
}

/** Steps and losses of the measurements. */
export function heldOutOf(curve: readonly CurvePoint[]): number[][] {
  return curve.flatMap(({ step, heldOut }) => (heldOut === undefined ? [] : [[step, heldOut]]))
}

export const mean = (numbers: readonly number[]) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length

/** The held-out loss of a model, in nats per token. */
export async function heldOutLoss(lm: LanguageModel, data: Dataset, options: TuneOptions): Promise<number> {
  for await (const { heldOut } of tune(lm, data, options)) return heldOut!
  throw new RangeError("held out: nothing was measured")
}
