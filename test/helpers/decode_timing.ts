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

/** What the products of one token take. */
export interface Products {
  readonly ms: Spread
  /** Of the weights, each of which is read once. */
  readonly bytes: number
}

/**
 * Times every product of a weight and one token's activations that a decode step of a ternary model makes: with its ternary
 * matrices, rounding of the activations included, and with bf16 matrices of the same shapes and their activations in f32.
 */
export async function timeProducts(model: Model, rounds: number): Promise<{ ternary: Products; bf16: Products }> {
  const { device } = model
  const ternary = [...model.packed.values()]
  const numbers = gaussians(2 ** 20)
  const bf16: Matrix[] = []
  for (const { shape } of ternary) bf16.push(await bf16Matrix(device, shape, numbers))
  const widths = new Set(ternary.map(({ shape: [, C] }) => C))
  const inputs = new Map([...widths].map((C) => [C, waves(device, [1, C])]))
  const norms = new Map([...widths].map((C) => [C, waves(device, [C])]))
  const pool = new ScratchPool(device)
  const plans = [ternary, bf16].map((matrices) => {
    const run = new Run(device)
    for (const matrix of matrices) {
      const C = matrix.shape[1]
      const x = inputs.get(C)!
      const rounded = matrix.dtype === "ternary" ? bitNorm(run, x, norms.get(C)!, { eps: 1e-6 }) : x
      run.keep(linear(run, rounded, matrix))
    }
    return run.plan(pool)
  })
  const times = await inTurn(
    plans.map((plan) => () => milliseconds(device, plan)),
    rounds,
  )
  for (const plan of plans) plan.dispose()
  pool.dispose()
  for (const variable of [...bf16, ...inputs.values(), ...norms.values()]) freeVariable(device, variable)
  return {
    ternary: { ms: times[0]!, bytes: bytesOf(ternary) },
    bf16: { ms: times[1]!, bytes: bytesOf(bf16) },
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

/** Activations of a token, or the weights of their norm. */
function waves(device: Device, shape: readonly number[]): Tensor {
  const x = device.tensor("scratch", shape)
  device.write(
    x,
    Float32Array.from({ length: shape.at(-1)! }, (_, i) => 1.5 + Math.sin(i)),
  )
  return x
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
