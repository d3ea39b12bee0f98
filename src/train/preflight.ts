import { formatBytes } from "../kernels/device.ts"
import { unbacked } from "../kernels/tensor.ts"
import { inputBytes, lossInputs } from "../model/loss.ts"
import type { Model } from "../model/model.ts"
import { tensorsOf } from "../model/parameter.ts"
import { activeElements, type Trainable, unbackedTrained } from "./trained.ts"
import { recordGradients, type TrainerOptions } from "./training_step.ts"

/** What training asks of the GPU, in bytes. */
export interface TrainingBytes {
  readonly gradients: number
  /** Of the optimizer. */
  readonly state: number
  /** Activations, and whatever else a step needs for a while. */
  readonly scratch: number
  readonly total: number
}

/** What a run will ask of the GPU, known before it is allocated. */
export interface Preflight extends TrainingBytes {
  /** What the device holds already: weights, adapters, caches. */
  readonly held: number
  /** All of it together: the most that will be held at once. */
  readonly peak: number
  /** Parameters that are trained at first. */
  readonly trained: number
}

/** How a run goes through the model, and what it may take there. */
export interface MemoryBounds {
  readonly rowsAtOnce: number
  readonly context: number
  /** Bytes; none without. */
  readonly memoryLimit: number | undefined
}

/**
 * Weighs a run before any of it is allocated.
 *
 * @throws {RangeError} when it would take more than the limit, saying what would fit
 */
export function preflight(
  model: Model,
  trainables: readonly Trainable[],
  options: TrainerOptions,
  bounds: MemoryBounds,
): Preflight {
  const held = model.device.memory.total
  const bytes = trainingBytes(model, trainables, options)
  const peak = held + bytes.total
  const { memoryLimit } = bounds
  if (memoryLimit !== undefined && peak > memoryLimit) {
    const bytesOf = (other: Alternative) => {
      const { recompute, rows, context } = other
      return held + trainingBytes(model, trainables, { ...options, recompute, tokens: rows * context }).total
    }
    const fits = alternatives(bounds).find((other) => bytesOf(other) <= memoryLimit)
    throw tooMuch(peak, memoryLimit, held, fits)
  }
  const trained = trainables.reduce((sum, { parameter }) => sum + parameter.shape.reduce((a, b) => a * b, 1), 0)
  return { ...bytes, held, peak, trained }
}

/** GPU bytes that a trainer will take. Recording its passes needs no memory, and tells what planning them would take. */
function trainingBytes(model: Model, trainables: readonly Trainable[], options: TrainerOptions): TrainingBytes {
  const { tokens, optimizer } = options
  const inputs = lossInputs(model.device, model.network, tokens, true)
  const trained = trainables.map(unbackedTrained)
  const dloss = unbacked([tokens])
  const { run } = recordGradients(model, inputs, dloss, trained, options)
  const gradients = trained
    .flatMap((each) => tensorsOf(each.gradient))
    .reduce((sum, x) => sum + x.storage.byteLength, 0)
  const state = trained.reduce((sum, each) => sum + activeElements(each) * 4 * optimizer.state.length, 0)
  const scratch = run.bytes + inputBytes(inputs) + dloss.storage.byteLength
  return { gradients, state, scratch, total: gradients + state + scratch }
}

interface Alternative {
  readonly recompute: boolean
  readonly rows: number
  readonly context: number
}

/** What takes less, the mildest first: recomputation, then fewer rows at once, then both with a shorter context. */
function alternatives({ rowsAtOnce, context }: MemoryBounds): Alternative[] {
  const others = [{ recompute: true, rows: rowsAtOnce, context }]
  for (let rows = rowsAtOnce >> 1; rows >= 1; rows >>= 1) others.push({ recompute: true, rows, context })
  for (let short = context >> 1; short >= 16; short >>= 1) others.push({ recompute: true, rows: 1, context: short })
  return others
}

function tooMuch(peak: number, limit: number, held: number, fits: Alternative | undefined): RangeError {
  const advice = fits
    ? `what would fit: recompute with ${fits.rows} row${fits.rows === 1 ? "" : "s"} at once of ${fits.context} tokens`
    : `${formatBytes(held)} are held already, and no shorter row fits`
  return new RangeError(
    `tune: needs ${formatBytes(peak)} on the GPU, expected at most ${formatBytes(limit)} (${advice})`,
  )
}
