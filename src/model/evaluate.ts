import { crossEntropy } from "../kernels/cross_entropy.ts"
import { Run } from "../kernels/run.ts"
import { rowSlice, type Tensor } from "../kernels/tensor.ts"
import { logits as logitsOf } from "./logits.ts"
import type { Model } from "./model.ts"

/** An array read back from the GPU, row-major. */
export interface HostArray {
  readonly data: Float32Array
  readonly shape: readonly number[]
}

/** The most bytes of logits that are on the GPU at once. */
const LOGITS_BYTES = 16 * 2 ** 20

/**
 * Logits of a sequence from position 0.
 *
 * @param last how many positions from the end; all without it
 * @returns `[last, V]`
 */
export async function logits(model: Model, ids: readonly number[], last = ids.length): Promise<HostArray> {
  const V = model.config.vocabSize
  const data = new Float32Array(last * V)
  const first = ids.length - last
  for await (const { from, x } of hidden(model, ids)) {
    const skip = first - from
    if (skip >= x.shape[0]!) continue
    const values = await read(model, (run) => logitsOf(run, model.network, x))
    data.set(values.subarray(Math.max(0, skip) * V), Math.max(0, -skip) * V)
  }
  return { data, shape: [last, V] }
}

/**
 * Negative log-likelihood in nats of each token after the first, given those before it.
 *
 * @returns `[T - 1]`
 */
export async function losses(model: Model, ids: readonly number[]): Promise<Float32Array> {
  const { device, network } = model
  const data = new Float32Array(ids.length)
  for await (const { from, x } of hidden(model, ids)) {
    const T = x.shape[0]!
    const targets = device.tensor("scratch", [T], "u32")
    try {
      device.write(targets, successors(ids, from, T))
      data.set(await read(model, (run) => crossEntropy(run, logitsOf(run, network, x), targets)), from)
    } finally {
      device.free(targets.storage.buffer!)
    }
  }
  return data.subarray(0, ids.length - 1)
}

/**
 * The residual stream: the scaled embedding, then what each layer gives, and last the final norm's output.
 *
 * @returns L + 2 arrays `[T, C]`
 */
export async function hiddenStates(model: Model, ids: readonly number[]): Promise<HostArray[]> {
  const { device, pool, config } = model
  const sequence = model.sequences[0]!
  const C = config.hiddenSize
  const states = Array.from({ length: config.numLayers + 2 }, () => new Float32Array(ids.length * C))
  for (const piece of sequence.pieces(ids)) {
    const run = new Run(device, undefined, { exact: true })
    const kept: Tensor[] = []
    const normed = sequence.record(run, piece.tokens.length, { onState: (x) => kept.push(run.keep(x)) })
    kept.push(run.keep(normed))
    const plan = run.plan(pool)
    try {
      sequence.submit(plan, piece)
      for (const [i, x] of kept.entries()) states[i]!.set(new Float32Array(await device.read(x)), piece.at * C)
    } finally {
      plan.dispose()
    }
  }
  return states.map((data) => ({ data, shape: [ids.length, C] }))
}

/**
 * The final norm's output for a sequence from position 0, in groups of rows whose logits fit on the GPU: `[rows, C]`
 * from position `from` on, valid until the next is asked for.
 */
export async function* hidden(model: Model, ids: readonly number[]): AsyncGenerator<{ from: number; x: Tensor }> {
  const { device, pool, config } = model
  const sequence = model.sequences[0]!
  const most = Math.min(LOGITS_BYTES, device.maxBinding)
  const group = Math.max(1, Math.floor(most / (config.vocabSize * 4) / 16)) * 16 // 16 rows fill 256-byte blocks
  for (const piece of sequence.pieces(ids)) {
    const T = piece.tokens.length
    const run = new Run(device, undefined, { exact: true })
    const x = run.keep(sequence.record(run, T))
    const plan = run.plan(pool)
    try {
      sequence.submit(plan, piece)
      for (let row = 0; row < T; row += group) {
        yield { from: piece.at + row, x: rowSlice(x, row, Math.min(T, row + group)) }
      }
    } finally {
      plan.dispose()
    }
  }
}

/** The tokens after T of a sequence. The last one has none: what is computed with the 0 in its place is to be dropped. */
export function successors(ids: readonly number[], from: number, T: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from({ length: T }, (_, i) => ids[from + i + 1] ?? 0)
}

/** Records, runs once and reads the result. */
async function read({ device, pool }: Model, record: (run: Run) => Tensor): Promise<Float32Array> {
  const run = new Run(device, undefined, { exact: true })
  const result = run.keep(record(run))
  const plan = run.plan(pool)
  try {
    plan.submit()
    return new Float32Array(await device.read(result))
  } finally {
    plan.dispose()
  }
}
