import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { copiesOf, copyTensors } from "../../src/kernels/copy.ts"
import type { Device } from "../../src/kernels/device.ts"
import { openTestDevice } from "../helpers/device.ts"

let device: Device
beforeAll(async () => {
  device = await openTestDevice()
})
afterAll(() => device?.dispose())

function tensor(values: readonly number[], shape: readonly number[] = [values.length]) {
  const x = device.tensor("cache", shape)
  device.write(x, Float32Array.from(values))
  return x
}

describe("copyTensors", () => {
  test("copies what was written before, and nothing that comes after", async () => {
    const [from, to] = [tensor([1, 2, 3]), tensor([0, 0, 0])]
    copyTensors(device, [[from, to]])
    device.write(from, Float32Array.of(7, 8, 9))
    expect([...new Float32Array(await device.read(to))]).toEqual([1, 2, 3])
  })

  test("refuses a target of another shape", () => {
    expect(() => copyTensors(device, [[tensor([1, 2]), tensor([1, 2], [2, 1])]])).toThrow(
      new RangeError("copyTensors: target is f32 [2, 1], expected f32 [2]"),
    )
  })
})

describe("copiesOf", () => {
  test("gives tensors of their own that count", async () => {
    const before = device.memory.training
    const { tensors, made } = copiesOf(device, "training", [tensor([1, 2]), tensor([3])])
    expect(await made).toBe(true)
    expect(device.memory.training - before).toBe(12)
    const read = await Promise.all(tensors.map(async (x) => [...new Float32Array(await device.read(x))]))
    expect(read).toEqual([[1, 2], [3]])
  })
})
