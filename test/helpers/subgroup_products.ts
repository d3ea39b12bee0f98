// Multiplies and attends once with the kernels that use subgroups, and prints how far off the results are as JSON. A process of
// its own, because a Vulkan driver reads how wide its subgroups are to be when it is loaded.
import { attend } from "../../src/kernels/attend.ts"
import { linear } from "../../src/kernels/linear.ts"
import * as referenceOfAttend from "../reference/attend.ts"
import * as referenceOfLinear from "../reference/linear.ts"
import { openTestDevice } from "./device.ts"
import { compute, matrix, tensor, uniform, weights } from "./kernels.ts"

const device = await openTestDevice({ limits: "default", subgroups: "always" })
const [T, C, N] = [21, 44, 130]
const [x, weight] = [uniform(T * C, 1), weights(N * C, 2, "bf16")]
const products = await compute(device, (run) => linear(run, tensor(device, [T, C], x), matrix(device, [N, C], weight)))
const shape = { H: 4, G: 2, D: 24, window: 300, scale: 0.3, softcap: 20 }
const S = 340
const [q, k, v] = [uniform(T * 4 * 24, 3), uniform(S * 2 * 24, 4), uniform(S * 2 * 24, 5)]
const cache = { k: tensor(device, [S, 2, 24], k), v: tensor(device, [S, 2, 24], v) }
const cursor = tensor(device, [2], Uint32Array.of(S - T, 0))
const attended = await compute(device, (run) => attend(run, tensor(device, [T, 4, 24], q), cache, cursor, shape))
const worst = (y: Float32Array, expected: ArrayLike<number>) =>
  Math.max(...Array.from(y, (value, i) => Math.abs(value - expected[i]!)))
const result = {
  description: device.description,
  subgroups: device.subgroups,
  size: device.gpu.adapterInfo.subgroupMinSize,
  linear: worst(products, referenceOfLinear.linear(x, weight.values, C)),
  attend: worst(attended, referenceOfAttend.attend(q, k, v, { ...shape, position: S - T })),
}
process.stdout.write(`${JSON.stringify(result)}\n`)
device.dispose()
process.exit(0) // Dawn's threads would keep the process
