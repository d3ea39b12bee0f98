import { describe, expect, test } from "vitest"
import { decodeToFloat32 } from "../../src/model/dtype.ts"
import { floatsOf, partOf, unpermuted } from "../../src/model/gguf/views.ts"
import { memorySource, type Source } from "../../src/model/source.ts"
import { dequantize, quantize } from "../helpers/gguf_writer.ts"
import { random } from "../helpers/random_checkpoint.ts"

const next = random(5)
const noise = Float32Array.from({ length: 256 }, () => (next() - 0.5) * 3)
const bytesOf = (values: Float32Array) => new Uint8Array(values.slice().buffer)

/** Every range of a source is cut from the whole. */
async function expectRanges(source: Source): Promise<void> {
  const whole = new Uint8Array(await source.slice(0, source.byteLength))
  for (let i = 0; i < 200; i++) {
    const start = Math.floor(next() * (source.byteLength + 1))
    const end = start + Math.floor(next() * (source.byteLength + 1 - start))
    expect(new Uint8Array(await source.slice(start, end))).toEqual(whole.subarray(start, end))
  }
  await expect(source.slice(0, source.byteLength + 1)).rejects.toThrow(RangeError)
}

describe.each(["Q4_0", "Q8_0"] as const)("decodeToFloat32 of %s", (type) => {
  test("gives what the blocks stand for, exactly", () => {
    const blocks = quantize(type, noise)
    expect(decodeToFloat32(type, blocks)).toEqual(dequantize(type, blocks))
    const worst = Math.max(...decodeToFloat32(type, blocks).map((value, i) => Math.abs(value - noise[i]!)))
    expect(worst).toBeLessThan(type === "Q4_0" ? 0.2 : 0.007) // a step is 1.5 / 8 or 1.5 / 127
  })

  test("gives every code, and scales of every kind", () => {
    const width = type === "Q4_0" ? 18 : 34
    for (const [half, scale] of [
      [0x3c00, 1],
      [0xb800, -0.5],
      [0x0001, 2 ** -24],
      [0x7bff, 65504],
      [0x0000, 0],
    ] as const) {
      for (let code = 0; code < 256; code++) {
        const block = new Uint8Array(width).fill(code)
        new DataView(block.buffer).setUint16(0, half, true)
        const values = decodeToFloat32(type, block)
        const [low, high] =
          type === "Q4_0" ? [(code % 16) - 8, Math.floor(code / 16) - 8] : Array(2).fill(code < 128 ? code : code - 256)
        expect(values[3]! + 0).toBe(low! * scale + 0)
        expect(values[19]! + 0).toBe(high! * scale + 0)
      }
    }
  })

  test("refuses part of a block", () => {
    expect(() => decodeToFloat32(type, new Uint8Array(33))).toThrow(/length is 33 bytes, expected a multiple of/)
  })
})

describe("views", () => {
  test("partOf gives the ranges of a part", async () => {
    const part = partOf(memorySource(bytesOf(noise)), 40, 200)
    expect(new Uint8Array(await part.slice(0, 160))).toEqual(bytesOf(noise).subarray(40, 200))
    await expectRanges(part)
  })

  test.each(["Q4_0", "Q8_0"] as const)("floatsOf gives any range of decoded %s", async (type) => {
    const blocks = quantize(type, noise)
    const source = floatsOf(memorySource(blocks), type, 0)
    expect(new Float32Array(await source.slice(0, source.byteLength))).toEqual(dequantize(type, blocks))
    await expectRanges(source)
  })

  test("floatsOf takes the 1 away that conversion added: exactly from 0.5 on, else within 2^-24", async () => {
    const weights = Float32Array.from(noise, (value) => value / 3)
    const sums = weights.map((weight) => weight + 1)
    const source = floatsOf(memorySource(bytesOf(sums)), "F32", -1)
    const values = new Float32Array(await source.slice(0, source.byteLength))
    for (const [i, value] of values.entries()) expect(Math.fround(1 + value)).toBe(sums[i])
    const small = Float32Array.of(0.1, 1e-7, -0.3, -0.9999)
    const read = new Float32Array(await floatsOf(memorySource(bytesOf(small)), "F32", -1).slice(0, 16))
    for (const [i, value] of read.entries()) expect(Math.abs(1 + value - small[i]!)).toBeLessThanOrEqual(2 ** -24)
    await expectRanges(source)
  })

  test("unpermuted gives rows in the order that the conversion's definition reverses", async () => {
    const [heads, D, rowBytes] = [3, 8, 5]
    const rows = Array.from({ length: heads * D }, (_, i) => new Uint8Array(rowBytes).fill(i))
    // w.reshape(heads, 2, D / 2, -1).swapaxes(1, 2).reshape(w.shape)
    const stored = rows.map((_, i) => {
      const [head, pair, half] = [Math.floor(i / D), Math.floor((i % D) / 2), i % 2]
      return rows[head * D + half * (D / 2) + pair]!
    })
    const source = unpermuted(memorySource(new Uint8Array(Buffer.concat(stored))), rowBytes, D)
    expect(new Uint8Array(await source.slice(0, source.byteLength))).toEqual(new Uint8Array(Buffer.concat(rows)))
    await expectRanges(source)
  })
})
