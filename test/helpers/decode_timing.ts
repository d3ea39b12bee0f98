import { bitNorms } from "../../src/kernels/bit_norm.ts"
import type { Device } from "../../src/kernels/device.ts"
import { linear, linearEach } from "../../src/kernels/linear.ts"
import { rmsNorm } from "../../src/kernels/rms_norm.ts"
import { type Plan, Run, ScratchPool } from "../../src/kernels/run.ts"
import { resetSampleState } from "../../src/kernels/sample.ts"
import { byteSize, type Matrix, rowSlice, type Storage, type Tensor, view } from "../../src/kernels/tensor.ts"
import { PLAIN_STEP } from "../../src/model/decode_steps.ts"
import type { Model } from "../../src/model/model.ts"
import { freeVariable, tensorsOf } from "../../src/model/parameter.ts"
import { gaussians } from "./random_folder.ts"

export const GREEDY = { repetitionPenalty: 1, temperature: 0, topK: 0, topP: 1, minP: 0, seed: 1 }

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** What products take that read `bytes` of weights, each once. */
export interface Products {
  readonly ms: Spread
  readonly bytes: number
}

/** Every product of a weight and a token's activations in a decode step of a ternary model. */
export interface TokenProducts {
  /** As the model computes them: activations normed and rounded to int8 before each product. */
  readonly ternary: Products
  /** The ternary products alone, of activations that are int8 already. */
  readonly ternaryAlone: Products
  /** With bf16 matrices of the same shapes: activations normed before each product. */
  readonly bf16: Products
  /** The products in bf16 alone, of activations in f32. */
  readonly bf16Alone: Products
}

export async function timeProducts(model: Model, rounds: number): Promise<TokenProducts> {
  const { device } = model
  const ternary = joined([...model.packed.values()])
  const numbers = gaussians(2 ** 20)
  const bf16: Matrix[] = []
  for (const { matrix } of ternary) bf16.push(await bf16Matrix(device, matrix.shape, numbers))
  const kinds = new Map(ternary.map(({ matrix, layers }) => [`${layers} ${matrix.shape[1]}`, { matrix, layers }]))
  const inputs = new Map(
    [...kinds].map(([kind, { matrix, layers }]) => [kind, inputsOf(device, layers, matrix.shape[1])]),
  )
  const pool = new ScratchPool(device)
  const plan = (products: (run: Run, inputs: Inputs, i: number) => readonly Tensor[]) => {
    const run = new Run(device)
    for (const [i, { matrix, layers }] of ternary.entries()) {
      for (const y of products(run, inputs.get(`${layers} ${matrix.shape[1]}`)!, i)) run.keep(y)
    }
    return run.plan(pool)
  }
  const norm = { eps: 1e-6 }
  const plans = [
    plan((run, { x, norms }, i) => [linearEach(run, bitNorms(run, x, norms, norm), ternary[i]!.matrix)]),
    plan((run, { codes }, i) => [linearEach(run, codes, ternary[i]!.matrix)]),
    plan((run, { x, norms }, i) => {
      const weights = apart(bf16[i]!, ternary[i]!.layers)
      return weights.map((weight, layer) => {
        const own = view(rowSlice(norms, layer, layer + 1), [norms.shape[1]!])
        return linear(run, rmsNorm(run, x, own, { ...norm, offset: 0 }), weight)
      })
    }),
    plan((run, { x }, i) => [linear(run, x, bf16[i]!)]),
  ]
  const [ternaryMs, ternaryAlone, bf16Ms, bf16Alone] = await inTurn(
    plans.map((plan) => () => milliseconds(device, plan)),
    rounds,
  )
  for (const plan of plans) plan.dispose()
  pool.dispose()
  const made = [...inputs.values()].flatMap((each) => Object.values(each))
  for (const variable of [...bf16, ...made]) freeVariable(device, variable)
  return {
    ternary: { ms: ternaryMs!, bytes: bytesOf(ternary.map(({ matrix }) => matrix)) },
    ternaryAlone: { ms: ternaryAlone!, bytes: bytesOf(ternary.map(({ matrix }) => matrix)) },
    bf16: { ms: bf16Ms!, bytes: bytesOf(bf16) },
    bf16Alone: { ms: bf16Alone!, bytes: bytesOf(bf16) },
  }
}

/** Milliseconds of a decode step at each of some positions, of steps taken in turn. */
export async function timeDecode(
  { device, decoder: { steps } }: Model,
  positions: readonly number[],
  rounds: number,
): Promise<Spread[]> {
  const at = (position: number) => () => {
    resetSampleState(device, steps.state, 0, new Array<number>(position + 1).fill(1), GREEDY)
    return milliseconds(device, steps.plan(PLAIN_STEP))
  }
  return inTurn(positions.map(at), rounds)
}

/** A matrix of its own, so that its bytes come from memory as a model's do. */
async function bf16Matrix(device: Device, shape: Matrix["shape"], numbers: Uint16Array<ArrayBuffer>): Promise<Matrix> {
  const matrix = device.matrix("scratch", shape, "bf16")
  for (const tensor of tensorsOf(matrix)) {
    const { byteLength } = tensor.storage
    for (let at = 0; at < byteLength; at += numbers.byteLength) {
      device.write(tensor, numbers.subarray(0, (byteLength - at) / 2), at)
    }
  }
  await device.settle()
  return matrix
}

/** The matrices of equal shape that lie behind one another. */
function apart(whole: Matrix, layers: number): Matrix[] {
  const [all, C] = whole.shape
  const [rows, { tensor }] = [all / layers, whole.parts[0]!]
  if (layers === 1) return [whole]
  return Array.from({ length: layers }, (_, i) => {
    const parts = [{ firstRow: 0, rows, tensor: rowSlice(tensor, i * rows, (i + 1) * rows) }]
    return { shape: [rows, C], dtype: whole.dtype, parts }
  })
}

/** Matrices, those that lie behind one another as one: they are the layers of one input, and multiplied together. */
function joined(matrices: readonly Matrix[]): { matrix: Matrix; layers: number }[] {
  const storages = new Map<Storage, Matrix[]>()
  for (const matrix of matrices) {
    const { storage } = matrix.parts[0]!.tensor
    storages.set(storage, [...(storages.get(storage) ?? []), matrix])
  }
  return [...storages.values()].map((layers) => {
    const { dtype, parts, shape } = layers[0]!
    const whole = [shape[0] * layers.length, shape[1]] as const
    const tensor = { ...parts[0]!.tensor, shape: whole }
    return { matrix: { shape: whole, dtype, parts: [{ firstRow: 0, rows: whole[0], tensor }] }, layers: layers.length }
  })
}

/**
 * Activations of a token: in f32, with the norms that rounding for several layers needs, and in int8, of scale 0 as no result
 * is looked at.
 */
interface Inputs {
  readonly x: Tensor
  readonly norms: Tensor
  readonly codes: Tensor
}

function inputsOf(device: Device, layers: number, C: number): Inputs {
  const values = Float32Array.from({ length: C }, (_, i) => Math.sin(i))
  const x = device.tensor("scratch", [1, C])
  const norms = device.tensor("scratch", [layers, C])
  const codes = device.tensor("scratch", [layers, C], "int8")
  device.write(x, values)
  device.write(norms, new Float32Array(layers * C).fill(1))
  const rounded = Int8Array.from(values, (value) => Math.round(127 * value))
  for (let i = 0; i < layers; i++) device.write(codes, rounded, i * byteSize([1, C], "int8"))
  return { x, norms, codes }
}

function bytesOf(matrices: readonly Matrix[]): number {
  return matrices.flatMap(tensorsOf).reduce((sum, { storage }) => sum + storage.byteLength, 0)
}

async function milliseconds(device: Device, plan: Plan): Promise<number> {
  const began = performance.now()
  plan.submit()
  await device.settle()
  return performance.now() - began
}

/** Measures in turn, so that what else the machine does meets all. The first turn warms up. */
export async function inTurn(measures: readonly (() => Promise<number>)[], rounds: number): Promise<Spread[]> {
  const samples: number[][] = measures.map(() => [])
  for (let round = 0; round <= rounds; round++) {
    for (const [i, measure] of measures.entries()) {
      const value = await measure()
      if (round > 0) samples[i]!.push(value)
    }
  }
  return samples.map(spread)
}

export function spread(samples: readonly number[]): Spread {
  const sorted = [...samples].sort((a, b) => a - b)
  return { median: sorted[Math.floor(sorted.length / 2)]!, min: sorted[0]!, max: sorted.at(-1)! }
}
