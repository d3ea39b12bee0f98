import { describe, expect, test } from "vitest"
import { expectDtype, expectShape, fold, heads, rows } from "../../src/kernels/shape.ts"
import { byteSize, rowSlice, sizeOf, type Tensor, view } from "../../src/kernels/tensor.ts"

function tensorOf(shape: readonly number[], dtype: Tensor["dtype"] = "f32"): Tensor {
  return { shape, dtype, storage: { byteLength: byteSize(shape, dtype), buffer: undefined }, byteOffset: 0 }
}

describe("fold", () => {
  test.each([1, 2, 65_534, 65_535, 65_536, 131_071, 1_000_003])("covers %i workgroups and little more", (n) => {
    const [x, y] = fold(n)
    expect(Math.max(x, y)).toBeLessThanOrEqual(65_535)
    expect(x * y).toBeGreaterThanOrEqual(n)
    expect(x * y - n).toBeLessThan(y)
  })
})

describe("shape checks", () => {
  test("rows gives two sizes, of a width in whole vec4s", () => {
    expect(rows("op", "x", tensorOf([3, 8]))).toEqual([3, 8])
    expect(() => rows("op", "x", tensorOf([3, 8, 1]))).toThrow(new RangeError("op: x is [3, 8, 1], expected [T, C]"))
    expect(() => rows("op", "x", tensorOf([3, 7]))).toThrow(/^op: x has rows of 7, expected a multiple of 4$/)
  })

  test("heads gives three sizes, of a head in whole vec4s", () => {
    expect(heads("op", "q", tensorOf([3, 2, 8]))).toEqual([3, 2, 8])
    expect(() => heads("op", "q", tensorOf([3, 8]))).toThrow(new RangeError("op: q is [3, 8], expected [T, H, D]"))
    expect(() => heads("op", "q", tensorOf([3, 2, 9]))).toThrow(RangeError)
  })

  test("expectShape and expectDtype name the op, the tensor and both values", () => {
    expect(() => expectShape("op", "w", tensorOf([3]), [3])).not.toThrow()
    expect(() => expectShape("op", "w", tensorOf([3]), [3, 1])).toThrow(new RangeError("op: w is [3], expected [3, 1]"))
    expect(() => expectDtype("op", "ids", tensorOf([3]), "u32")).toThrow(new TypeError("op: ids is f32, expected u32"))
  })
})

describe("tensors", () => {
  test("byteSize rounds up to whole words", () => {
    expect(byteSize([3, 5], "f32")).toBe(60)
    expect(byteSize([3, 5], "bf16")).toBe(32)
    expect(byteSize([2], "f16")).toBe(4)
    expect(byteSize([], "u32")).toBe(4)
    expect(sizeOf([])).toBe(1)
  })

  test("view keeps the elements under another shape", () => {
    const x = tensorOf([2, 12])
    expect(view(x, [2, 3, 4])).toEqual({ ...x, shape: [2, 3, 4] })
    expect(() => view(x, [5, 5])).toThrow(new RangeError("view: shape is [5, 5], expected 24 elements as in [2, 12]"))
  })

  test("rowSlice begins at a multiple of 256 bytes, within the tensor", () => {
    const x = tensorOf([9, 64])
    expect(rowSlice(x, 2, 5)).toEqual({ ...x, shape: [3, 64], byteOffset: 512 })
    expect(rowSlice(rowSlice(x, 2, 9), 1, 2).byteOffset).toBe(768)
    expect(rowSlice(tensorOf([8, 128], "bf16"), 1, 2).byteOffset).toBe(256)
    expect(() => rowSlice(x, 2, 10)).toThrow(new RangeError("rowSlice: rows are 2 to 10, expected a part of 0 to 9"))
    expect(() => rowSlice(x, 3, 3)).toThrow(RangeError)
    expect(() => rowSlice(tensorOf([9, 4]), 1, 2)).toThrow(
      new RangeError("rowSlice: row 1 begins at byte 16, expected a multiple of 256"),
    )
  })
})
