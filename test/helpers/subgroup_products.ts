// Multiplies and attends with the kernels that use subgroups, and prints how far off the results are as JSON. A process of
// its own, because a Vulkan driver reads how wide its subgroups are to be when it is loaded.
import { attend } from "../../src/kernels/attend.ts"
import { linear, linearBackwardInput, linearBackwardWeight } from "../../src/kernels/linear.ts"
import { Run } from "../../src/kernels/run.ts"
import * as referenceOfAttend from "../reference/attend.ts"
import * as referenceOfLinear from "../reference/linear.ts"
import { openTestDevice } from "./device.ts"
import { readAll } from "./gradients.ts"
import { compute, matrix, tensor, uniform, weights } from "./kernels.ts"

const device = await openTestDevice({ limits: "default", subgroups: "always" })
const worst = (y: ArrayLike<number>, expected: ArrayLike<number>) =>
  Math.max(...Array.from(y, (value, i) => Math.abs(value - expected[i]!)))

const [C, N] = [44, 132]
const weight = weights(N * C, 2, "bf16")
const linears: Record<string, number> = {}
for (const T of [2, 21]) {
  const x = uniform(T * C, 1)
  const y = await compute(device, (run) => linear(run, tensor(device, [T, C], x), matrix(device, [N, C], weight)))
  linears[`${T} tokens`] = worst(y, referenceOfLinear.linear(x, weight.values, C))
}

const T = 21
const [x, dy] = [uniform(T * C, 1), uniform(T * N, 6)]
const [input, output] = [tensor(device, [T, C], x), tensor(device, [T, N], dy)]
const backward = new Run(device)
const gradients = [
  linearBackwardInput(backward, output, matrix(device, [N, C], weight)),
  linearBackwardWeight(backward, output, input),
]
const [dx, dweight] = await readAll(device, backward, gradients)
linears.dx = worst(dx!, referenceOfLinear.linearBackwardInput(dy, weight.values, C))
linears.dweight = worst(dweight!, referenceOfLinear.linearBackwardWeight(dy, x, C))

const shape = { H: 4, G: 2, D: 24, window: 300, scale: 0.3, softcap: 20 }
const S = 340
const [q, k, v] = [uniform(T * 4 * 24, 3), uniform(S * 2 * 24, 4), uniform(S * 2 * 24, 5)]
const cache = { k: tensor(device, [S, 2, 24], k), v: tensor(device, [S, 2, 24], v) }
const attends: Record<string, number> = {}
for (const T of [1, 21]) {
  const [queries, cursor] = [q.slice(-T * 4 * 24), tensor(device, [2], Uint32Array.of(S - T, 0))]
  const y = await compute(device, (run) => attend(run, tensor(device, [T, 4, 24], queries), cache, cursor, shape))
  attends[`attend, ${T} tokens`] = worst(y, referenceOfAttend.attend(queries, k, v, { ...shape, position: S - T }))
}
const result = {
  description: device.description,
  subgroups: device.subgroups,
  size: device.gpu.adapterInfo.subgroupMinSize,
  linears,
  attends,
}
process.stdout.write(`${JSON.stringify(result)}\n`)
device.dispose()
process.exit(0) // Dawn's threads would keep the process
