import { describe, expect, test } from "vitest"
import type { Matrix } from "../../src/kernels/tensor.ts"
import { roomFor } from "../../src/model/joined.ts"
import { openTestDevice } from "../helpers/device.ts"
import { testDevice } from "../helpers/kernels.ts"

describe("roomFor", () => {
  const device = testDevice()

  test("gives weights their rows of one memory, in order", () => {
    const { whole, parts } = roomFor(
      device(),
      [
        [128, 64],
        [64, 64],
        [64, 64],
      ],
      "bf16",
    )!
    expect(whole.shape).toEqual([256, 64])
    const matrices = parts as Matrix[]
    expect(matrices.map(({ shape }) => shape)).toEqual([
      [128, 64],
      [64, 64],
      [64, 64],
    ])
    expect(matrices.map(({ parts: [part] }) => part!.tensor.byteOffset)).toEqual([0, 128 * 128, 192 * 128])
    for (const {
      parts: [part],
    } of matrices)
      expect(part!.tensor.storage).toBe(whole.storage)
    device().free(whole.storage.buffer!)
  })

  test("gives vectors a row each", () => {
    const { whole, parts } = roomFor(device(), [[128], [128]], "bf16")!
    expect(whole.shape).toEqual([2, 128])
    expect(parts).toMatchObject([
      { shape: [128], byteOffset: 0 },
      { shape: [128], byteOffset: 256 },
    ])
    device().free(whole.storage.buffer!)
  })

  test("gives none where rows cannot be bound on their own, or not together", async () => {
    expect(
      roomFor(
        device(),
        [
          [64, 64],
          [64, 128],
        ],
        "f32",
      ),
    ).toBeUndefined()
    expect(
      roomFor(
        device(),
        [
          [1, 64],
          [1, 64],
        ],
        "bf16",
      ),
    ).toBeUndefined() // from byte 128
    expect(roomFor(device(), [[64], [64]], "bf16")).toBeUndefined()
    expect(
      roomFor(
        device(),
        [
          [6, 1024],
          [8, 1024],
        ],
        "ternary",
      ),
    ).toBeUndefined() // rows lie in fours
    const before = device().memory.total
    const small = await openTestDevice({ limits: "default" })
    const rows = small.maxBinding / 4096
    expect(
      roomFor(
        small,
        [
          [rows / 2 + 1, 1024],
          [rows / 2, 1024],
        ],
        "f32",
      ),
    ).toBeUndefined()
    expect(small.memory.total).toBe(0)
    small.dispose()
    expect(device().memory.total).toBe(before)
  })
})
