import { decodeToFloat32, encodeF16 } from "../../src/model/safetensors.ts"
import type { Weights } from "./checkpoint.ts"

/** Weights that share a scale in 4-bit products. */
export const BLOCK = 32

/** What onnxruntime's activations are computed in. */
export type Activation = "f32" | "f16"

export function encode(element: Activation, values: Float32Array<ArrayBuffer>): Uint8Array {
  return new Uint8Array((element === "f32" ? values : encodeF16(values)).buffer)
}

/** A matrix as it lies, `[N, K]`. */
export async function* asStored(weights: Weights, name: string, element: Activation): AsyncGenerator<Uint8Array> {
  for await (const halves of weights.halves(name)) yield converted(element, halves)
}

/** A matrix turned over, `[K, N]`, as ONNX's MatMul wants it. */
export async function* transposed(weights: Weights, name: string, element: Activation): AsyncGenerator<Uint8Array> {
  const [N, K] = weights.shape(name) as [number, number]
  const whole = new Uint16Array(N * K)
  let at = 0
  for await (const halves of weights.halves(name)) {
    whole.set(halves, at)
    at += halves.length
  }
  for (let k = 0; k < K; k++) {
    const column = new Uint16Array(N)
    for (let n = 0; n < N; n++) column[n] = whole[n * K + k]!
    yield converted(element, column)
  }
}

/** Codes of 4 bits, two a byte, 0..15 for -8..7 times their block's scale; and the scales. */
export interface Quantized {
  readonly codes: Uint8Array
  readonly scales: Uint8Array
}

/** Rows in blocks whose largest magnitude is -8 times the scale, as onnxruntime's own quantizer makes symmetric ones. */
export async function quantized(weights: Weights, name: string, element: Activation): Promise<Quantized> {
  const pieces: Quantized[] = []
  for await (const values of weights.values(name)) pieces.push(quantize(values, element))
  const joined = (part: keyof Quantized) => Buffer.concat(pieces.map((piece) => piece[part]))
  return { codes: joined("codes"), scales: joined("scales") }
}

function quantize(values: Float32Array, element: Activation): Quantized {
  const scales = new Float32Array(values.length / BLOCK)
  const codes = new Uint8Array(values.length / 2)
  for (let b = 0; b < scales.length; b++) {
    let largest = 0
    for (let i = b * BLOCK; i < (b + 1) * BLOCK; i++) if (Math.abs(values[i]!) > Math.abs(largest)) largest = values[i]!
    scales[b] = largest / -8
    const inverse = largest === 0 ? 0 : 1 / scales[b]!
    for (let i = b * BLOCK; i < (b + 1) * BLOCK; i++) {
      const code = Math.min(15, Math.floor(values[i]! * inverse + 8.5))
      codes[i >>> 1]! |= i % 2 === 0 ? code : code << 4
    }
  }
  return { codes, scales: encode(element, scales) }
}

/** Every bf16 number in float16, so that millions of weights are looked up. */
let floats16: Uint16Array<ArrayBuffer> | undefined

function converted(element: Activation, halves: Uint16Array<ArrayBuffer>): Uint8Array {
  if (element === "f32") return new Uint8Array(decodeToFloat32("BF16", new Uint8Array(halves.buffer)).buffer)
  if (!floats16) {
    const all = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits)
    floats16 = encodeF16(decodeToFloat32("BF16", new Uint8Array(all.buffer)))
  }
  const out = new Uint16Array(halves.length)
  for (let i = 0; i < halves.length; i++) out[i] = floats16[halves[i]!]!
  return new Uint8Array(out.buffer)
}
