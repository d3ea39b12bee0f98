import type { Device } from "../kernels/device.ts"
import type { Linear } from "./linear.ts"
import { readValues } from "./parameter.ts"

/**
 * A linear layer's weight `[N, C]`, row-major, whatever form it has.
 *
 * @throws {TypeError} where no matrix stands for it: a ternary one multiplies what is normed and rounded, experts are gated
 */
export async function readLinear(device: Device, path: string, { weight, shape }: Linear): Promise<Float32Array> {
  if (weight.kind === "ternary" || weight.kind === "experts") {
    throw new TypeError(
      `${path}: weight is ${weight.kind}, expected one matrix (an init without a decomposition works)`,
    )
  }
  if (weight.kind === "dense") return readValues(device, weight.matrix, shape)
  const [u, v] = [
    await readValues(device, weight.u, weight.u.shape),
    await readValues(device, weight.v, weight.v.shape),
  ]
  const [[N, C], R] = [shape, weight.v.shape[0]]
  const values = new Float32Array(N * C)
  const row = new Float64Array(C)
  for (let n = 0; n < N; n++) {
    row.fill(0)
    for (let r = 0; r < R; r++) {
      const factor = u[n * R + r]!
      for (let c = 0; c < C; c++) row[c] = row[c]! + factor * v[r * C + c]!
    }
    values.set(row, n * C)
  }
  return values
}
