import { bitNorm } from "../../src/kernels/bit_norm.ts"
import type { Device } from "../../src/kernels/device.ts"
import { linear } from "../../src/kernels/linear.ts"
import { type Plan, Run, ScratchPool } from "../../src/kernels/run.ts"
import { resetSampleState } from "../../src/kernels/sample.ts"
import type { Matrix, Tensor } from "../../src/kernels/tensor.ts"
import type { Model } from "../../src/model/model.ts"
import { freeVariable, tensorsOf } from "../../src/model/parameter.ts"
import { gaussians } from "./random_hgrn.ts"

const GREEDY = { repetitionPenalty: 1, temperature: 0, topK: 0, topP: 1, minP: 0, seed: 1 }

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
  /** With bf16 matrices of the same shapes, of activations in f32. */
  readonly bf16: Products
}

export async function timeProducts(model: Model, rounds: number): Promise<TokenProducts> {
  const { device } = model
  const ternary = [...model.packed.values()]
  const numbers = gaussians(2 ** 20)
  const bf16: Matrix[] = []
  for (const { shape } of ternary) bf16.push(await bf16Matrix(device, shape, numbers))
  const widths = new Set(ternary.map(({ shape: [, C] }) => C))
  const inputs = new Map([...widths].map((C) => [C, inputsOf(device, C)]))
  const pool = new ScratchPool(device)
  const plan = (matrices: readonly Matrix[], activations: (run: Run, inputs: Inputs) => Tensor) => {
    const run = new Run(device)
    for (const matrix of matrices) run.keep(linear(run, activations(run, inputs.get(matrix.shape[1])!), matrix))
    return run.plan(pool)
  }
  const plans = [
    plan(ternary, (run, { x, norm }) => bitNorm(run, x, norm, { eps: 1e-6 })),
    plan(ternary, (_, { codes }) => codes),
    plan(bf16, (_, { x }) => x),
  ]
  const [rounding, alone, other] = await inTurn(
    plans.map((plan) => () => milliseconds(device, plan)),
    rounds,
  )
  for (const plan of plans) plan.dispose()
  pool.dispose()
  const made = [...inputs.values()].flatMap((each) => Object.values(each))
  for (const variable of [...bf16, ...made]) freeVariable(device, variable)
  return {
    ternary: { ms: rounding!, bytes: bytesOf(ternary) },
    ternaryAlone: { ms: alone!, bytes: bytesOf(ternary) },
    bf16: { ms: other!, bytes: bytesOf(bf16) },
  }
}

/** Milliseconds of a decode step at each of some positions, of steps taken in turn. */
export async function timeDecode(
  { device, state, decodePlan }: Model,
  positions: readonly number[],
  rounds: number,
): Promise<Spread[]> {
  const at = (position: number) => () => {
    resetSampleState(device, state, new Array<number>(position + 1).fill(1), GREEDY)
    return milliseconds(device, decodePlan)
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

/** Activations of a token: in f32, with the norm that rounding needs, and in int8, of scale 0 as no result is looked at. */
interface Inputs {
  readonly x: Tensor
  readonly norm: Tensor
  readonly codes: Tensor
}

function inputsOf(device: Device, C: number): Inputs {
  const values = Float32Array.from({ length: C }, (_, i) => Math.sin(i))
  const x = device.tensor("scratch", [1, C])
  const norm = device.tensor("scratch", [C])
  const codes = device.tensor("scratch", [1, C], "int8")
  device.write(x, values)
  device.write(norm, new Float32Array(C).fill(1))
  device.write(
    codes,
    Int8Array.from(values, (value) => Math.round(127 * value)),
  )
  return { x, norm, codes }
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
async function inTurn(measures: readonly (() => Promise<number>)[], rounds: number): Promise<Spread[]> {
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
