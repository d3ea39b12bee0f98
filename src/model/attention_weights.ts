import { attentionWeights as weightsOf } from "../kernels/attention_weights.ts"
import { type Device, formatBytes } from "../kernels/device.ts"
import { Run } from "../kernels/run.ts"
import type { Tensor } from "../kernels/tensor.ts"
import type { ModelConfig } from "./config.ts"
import type { HostArray } from "./evaluate.ts"
import type { Model } from "./model.ts"
import type { AttentionInputs } from "./network.ts"
import type { PieceOfTokens } from "./sequence.ts"

/** Which of a model's heads. */
export interface AttentionHead {
  readonly layer: number
  readonly head: number
}

/** The most bytes of weights that are given at once: of 8192 tokens. */
const MOST = 256 * 2 ** 20
/** The most bytes of them in one buffer of the GPU. */
const GROUP = 16 * 2 ** 20

/**
 * The softmax weights of one head: how much each token takes of each.
 *
 * @returns `[T, T]`, a row for each query, 0 for the keys that it does not see; each row sums to 1
 */
export async function attentionWeights(model: Model, ids: readonly number[], which: AttentionHead): Promise<HostArray> {
  const T = ids.length
  expectHead(model.config, which)
  if (T * T * 4 > MOST) {
    const most = Math.sqrt(MOST / 4)
    throw new RangeError(
      `attention: ${T} tokens need ${formatBytes(T * T * 4)} of weights, expected at most ${formatBytes(MOST)} (${most} tokens)`,
    )
  }
  const data = new Float32Array(T * T)
  for (const piece of model.sequences[0]!.pieces(ids)) await weightsOfPiece(model, piece, which, data, T)
  return { data, shape: [T, T] }
}

/** Lets a piece through and puts its rows where they belong. */
async function weightsOfPiece(
  { device, pool, sequences }: Model,
  piece: PieceOfTokens,
  { layer, head }: AttentionHead,
  data: Float32Array,
  T: number,
): Promise<void> {
  const sequence = sequences[0]!
  const run = new Run(device, undefined, { exact: true })
  let groups: Tensor[] = []
  const onAttention = (i: number, inputs: AttentionInputs) => {
    if (i === layer) groups = record(run, device, inputs, head, piece.at + piece.tokens.length)
  }
  sequence.record(run, piece.tokens.length, { onAttention })
  const plan = run.plan(pool)
  try {
    sequence.submit(plan, piece)
    let row = piece.at
    for (const group of groups) {
      const [rows, S] = group.shape as [number, number]
      const weights = new Float32Array(await device.read(group))
      for (let i = 0; i < rows; i++) data.set(weights.subarray(i * S, i * S + S), (row + i) * T)
      row += rows
    }
  } finally {
    plan.dispose()
  }
}

/** Weights of the S positions up to the last query's, in groups of queries that fit a buffer: `[rows, S]` each. */
function record(
  run: Run,
  device: Device,
  { q, cache, cursor, ...scores }: AttentionInputs,
  head: number,
  S: number,
): Tensor[] {
  const T = q.shape[0]!
  const most = Math.max(1, Math.floor(Math.min(GROUP, device.maxBinding) / (S * 4)))
  return Array.from({ length: Math.ceil(T / most) }, (_, i) => {
    const from = i * most
    const rows = Math.min(most, T - from)
    return run.keep(weightsOf(run, q, cache, cursor, { head, S, from, rows, ...scores }))
  })
}

function expectHead(config: ModelConfig, { layer, head }: AttentionHead): void {
  if (!(Number.isInteger(layer) && layer >= 0 && layer < config.numLayers)) {
    throw new RangeError(`attention: layer is ${layer}, expected 0 to ${config.numLayers - 1}`)
  }
  if (config.modelType === "hgrn_bit") {
    throw new RangeError(
      `attention: layer ${layer} of ${config.modelType} is a recurrence, expected one with attention`,
    )
  }
  if (!(Number.isInteger(head) && head >= 0 && head < config.numHeads)) {
    throw new RangeError(`attention: head is ${head}, expected 0 to ${config.numHeads - 1}`)
  }
}
