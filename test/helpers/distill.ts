import type { Device } from "../../src/kernels/device.ts"
import type { Head } from "../../src/kernels/linear_distill.ts"
import { linear } from "../reference/linear.ts"
import { softcap as capped } from "../reference/softcap.ts"
import { golden } from "./golden.ts"
import { matrix, random, tensor, uniform, type WeightDtype, type Weights, weights } from "./kernels.ts"

const IGNORED = 2 ** 32 - 1

/** A model's end as numbers. */
export interface HeadData {
  readonly x: Float32Array<ArrayBuffer>
  readonly weight: Weights
  readonly softcap: number | null
  readonly C: number
}

/** Random numbers that give logits of a few units. */
export function headData(
  [T, C, V]: readonly [number, number, number],
  seed: number,
  dtype: WeightDtype,
  softcap: number | null,
): HeadData {
  return { x: uniform(T * C, seed, 12 / Math.sqrt(C)), weight: weights(V * C, seed + 1, dtype), softcap, C }
}

/** A head whose logits are the given ones: they are x, and the weight is the unit matrix. */
export function logitsData(logits: Float32Array<ArrayBuffer>, V: number): HeadData {
  const values = new Float32Array(V * V)
  for (let v = 0; v < V; v++) values[v * V + v] = 1
  return { x: logits, weight: { dtype: "f32", stored: values, values }, softcap: null, C: V }
}

/** On the GPU, its weight in parts of at most `rows` rows. */
export function upload(device: Device, { x, weight, softcap, C }: HeadData, rows?: number): Head {
  const V = weight.values.length / C
  return { x: tensor(device, [x.length / C, C], x), weight: matrix(device, [V, C], weight, rows), softcap }
}

/** Its logits by definition, of another x or weight where given. */
export function logitsOf(
  { x, weight, softcap, C }: HeadData,
  other: { readonly x?: ArrayLike<number>; readonly weight?: ArrayLike<number> } = {},
): Float64Array {
  const logits = linear(other.x ?? x, other.weight ?? weight.values, C)
  return softcap === null ? logits : capped(logits, softcap)
}

/** Targets of which every fourth is ignored, the first and the last token among the others. */
export function someTargets(T: number, V: number): Uint32Array<ArrayBuffer> {
  const next = random(4)
  return Uint32Array.from({ length: T }, (_, t) =>
    t % 4 === 3 ? IGNORED : t === 1 ? 0 : t === 2 ? V - 1 : Math.floor(next() * V),
  )
}

/** Logits, targets and the gradient of the mean over the rows that count, as the goldens were made. */
export function goldenCase() {
  const all = golden("goldens/ops") as ReturnType<typeof golden> & { readonly labels: readonly number[] }
  const targets = Uint32Array.from(all.labels, (label) => (label < 0 ? IGNORED : label))
  const count = all.labels.filter((label) => label >= 0).length
  const logits = (whose: string) => logitsData(Float32Array.from(all.tensor(`${whose}_logits`).data), 256)
  const dloss = new Float32Array(targets.length).fill(1 / count)
  const mean = (loss: ArrayLike<number>) => Array.from(loss).reduce((sum, x) => sum + x, 0) / count
  return { tensor: all.tensor, targets, dloss, mean, student: logits("student"), teacher: logits("teacher") }
}
