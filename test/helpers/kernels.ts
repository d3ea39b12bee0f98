import { afterAll, beforeAll } from "vitest"
import type { Device, DeviceOptions } from "../../src/kernels/device.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import type { Dtype, Matrix, Tensor } from "../../src/kernels/tensor.ts"
import { bf16, f16 } from "../reference/weights.ts"
import { openTestDevice } from "./device.ts"

/** For tests of kernels that have a variant with subgroups: that one, where the adapter can, and the other. */
export const SUBGROUPS = [{ subgroups: "always" }, { subgroups: "never" }] as const

/** A device for the tests of one file. WebGPU's default limits: what passes with them passes with any. */
export function testDevice(options: Pick<DeviceOptions, "subgroups" | "tuning"> = {}): () => Device {
  let device: Device
  beforeAll(async () => {
    device = await openTestDevice({ limits: "default", ...options })
  })
  afterAll(() => device.dispose())
  return () => device
}

export type WeightDtype = Extract<Dtype, "f32" | "bf16" | "f16">
export const WEIGHT_DTYPES: readonly WeightDtype[] = ["f32", "bf16", "f16"]

/** Weights as they are stored, and the numbers that they stand for. */
export interface Weights {
  readonly dtype: WeightDtype
  readonly stored: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>
  readonly values: Float32Array | Float64Array
}

/** Deterministic random numbers (mulberry32). */
export function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

/** n numbers from [-size, size). */
export function uniform(n: number, seed: number, size = 1): Float32Array<ArrayBuffer> {
  const next = random(seed)
  return Float32Array.from({ length: n }, () => (next() * 2 - 1) * size)
}

/** A block of numbers again and again, n in all. */
export function repeat(block: Float32Array<ArrayBuffer>, n: number): Float32Array<ArrayBuffer> {
  const all = new Float32Array(n)
  for (let at = 0; at < n; at += block.length) all.set(block.subarray(0, n - at), at)
  return all
}

/** n weights: random bits of the type with magnitudes from 2^-9 to 1. */
export function weights(n: number, seed: number, dtype: WeightDtype): Weights {
  if (dtype === "f32") {
    const values = uniform(n, seed)
    return { dtype, stored: values, values }
  }
  const [bias, fraction] = dtype === "bf16" ? [127, 7] : [15, 10]
  const next = random(seed)
  const stored = Uint16Array.from({ length: n }, () => {
    const bits = next() * 2 ** 32
    const exponent = bias - 1 - (Math.floor(bits / 2 ** 16) % 8)
    return ((bits & 1) << 15) | (exponent << fraction) | ((bits >>> 1) & (2 ** fraction - 1))
  })
  return stand(stored, dtype)
}

/** Weights of these very bits. */
export function stand(stored: Uint16Array<ArrayBuffer>, dtype: "bf16" | "f16"): Weights {
  return { dtype, stored, values: Float64Array.from(stored, dtype === "bf16" ? bf16 : f16) }
}

/** Uploads values as an f32 or u32 tensor, or weights in their type. */
export function tensor(
  device: Device,
  shape: readonly number[],
  data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Weights,
): Tensor {
  const dtype = "dtype" in data ? data.dtype : data instanceof Uint32Array ? "u32" : "f32"
  const x = device.tensor("weights", shape, dtype)
  device.write(x, "dtype" in data ? data.stored : data)
  return x
}

/** Uploads a matrix, in parts of at most `rows` rows, or as few as the device allows. */
export function matrix(device: Device, shape: readonly [number, number], data: Weights, rows?: number): Matrix {
  const [N, C] = shape
  const whole =
    rows === undefined ? device.matrix("weights", shape, data.dtype) : split(device, shape, data.dtype, rows)
  for (const { firstRow, rows, tensor } of whole.parts) {
    device.write(tensor, data.stored.subarray(firstRow * C, Math.min(N, firstRow + rows) * C))
  }
  return whole
}

function split(device: Device, [N, C]: readonly [number, number], dtype: Dtype, most: number): Matrix {
  const parts = Array.from({ length: Math.ceil(N / most) }, (_, p) => {
    const rows = Math.min(most, N - p * most)
    return { firstRow: p * most, rows, tensor: device.tensor("weights", [rows, C], dtype) }
  })
  return { shape: [N, C], dtype, parts }
}

/** Runs ops and reads their result back. */
export async function compute(device: Device, build: (run: Run) => Tensor): Promise<Float32Array<ArrayBuffer>> {
  const run = new Run(device)
  const pool = new ScratchPool(device)
  const result = run.keep(build(run))
  const plan = run.plan(pool)
  plan.submit()
  const data = new Float32Array(await device.read(result))
  plan.dispose()
  pool.dispose()
  return data
}

/** Gives back the memory of tensors and matrices. */
export function free(device: Device, ...all: readonly (Tensor | Matrix)[]): void {
  for (const x of all) {
    for (const { storage } of "parts" in x ? x.parts.map((part) => part.tensor) : [x]) device.free(storage.buffer!)
  }
}
