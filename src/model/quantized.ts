import type { QuantizedDtype } from "../kernels/quantize.ts"
import type { StoredTensor } from "./checkpoint.ts"
import { BLOCK, BLOCK_BYTES, type BlockType, type DType, isDType } from "./dtype.ts"
import type { Blocks } from "./gguf/checkpoint.ts"
import { floatsOf } from "./gguf/views.ts"
import { scaleName } from "./packed.ts"
import { expectRange, type Source } from "./source.ts"

/** What `__metadata__` calls the type that weights had before they were rounded: an embedding's factor follows it. */
export const FROM = "quantized_from"

/** The types of codes in safetensors files, and of their scales. */
export const CODES = { q4: "U8", q8: "I8" } as const
export const SCALES = "F32"
export const ZEROS = "U8"

/** The type on the GPU that holds what blocks hold. */
const SAME: Readonly<Record<BlockType, QuantizedDtype>> = { Q4_0: "q4", Q8_0: "q8", q4: "q4", q8: "q8" }

export function typeOfBlocks({ dtype }: Blocks): QuantizedDtype {
  return SAME[dtype]
}

/** Whether blocks are a safetensors file's own. */
export function isOwn({ dtype }: Blocks): boolean {
  return dtype === "q4" || dtype === "q8"
}

/** Name of the codes that stand for 0, in sixteenths. */
export function zeroName(weight: string): string {
  return `${weight}_zero_sixteenths`
}

/** Shape of a weight's codes. */
export function codeShape([rows, columns]: readonly number[], dtype: QuantizedDtype): [number, number] {
  return [rows!, dtype === "q4" ? columns! / 2 : columns!]
}

/** A weight that a file has as codes. */
interface Quantized {
  /** The weight as F32, and its blocks. */
  readonly weight: StoredTensor
  /** Names of the tensors that belong to it. */
  readonly parts: readonly string[]
}

/** The tensors that blocks are made of. */
interface Parts {
  readonly codes: StoredTensor
  readonly scales: StoredTensor
  /** In q4. */
  readonly zeros: StoredTensor | undefined
}

/**
 * A weight `[N, C]` that is stored as codes, after checking all that belongs to it; undefined where it is stored in full.
 *
 * @param metadata the file's
 * @throws {RangeError} for codes of another shape, or without their scales or zeros
 */
export function expectQuantized(
  stored: StoredTensor,
  shape: readonly number[],
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: ReadonlyMap<string, string>,
): Quantized | undefined {
  const { file, info } = stored
  if (stored.blocks || (info.dtype !== "U8" && info.dtype !== "I8")) return undefined
  const dtype = info.dtype === "U8" ? "q4" : "q8"
  const [rows, columns] = shape as [number, number]
  if (shape.length !== 2 || columns % BLOCK !== 0) {
    const is = `is [${info.shape.join(", ")}] ${info.dtype}`
    throw new RangeError(`${file}: ${info.name} ${is}, expected F32, F16 or BF16 for [${shape.join(", ")}]`)
  }
  expectShape(stored, codeShape(shape, dtype), `codes in ${dtype}`)
  const perBlock = [rows, columns / BLOCK]
  const scales = expectPart(stored, scaleName(info.name), SCALES, perBlock, tensors)
  const zeros = dtype === "q4" ? expectPart(stored, zeroName(info.name), ZEROS, perBlock, tensors) : undefined
  const source = blocksOf({ codes: stored, scales, zeros }, dtype, columns)
  const from = metadata.get(FROM)
  const blocks = { dtype, source, start: 0, end: source.byteLength, from: isDType(from) ? from : undefined } as const
  const floats = floatsOf(source, dtype, 0)
  const view = { name: info.name, dtype: "F32", shape, start: 0, end: floats.byteLength } as const
  const parts = [scales, zeros].flatMap((part) => part?.info.name ?? [])
  return { weight: { file, source: floats, info: view, blocks }, parts }
}

function expectShape({ file, info }: StoredTensor, expected: readonly number[], what: string): void {
  if (info.shape.join() === expected.join()) return
  const is = `[${info.shape.join(", ")}] ${what}`
  throw new RangeError(`${file}: ${info.name} is ${is}, expected [${expected.join(", ")}]`)
}

function expectPart(
  { file }: StoredTensor,
  name: string,
  dtype: DType,
  shape: readonly number[],
  tensors: ReadonlyMap<string, StoredTensor>,
): StoredTensor {
  const part = tensors.get(name)
  if (part?.info.dtype === dtype && part.info.shape.join() === shape.join()) return part
  const is = part ? `${part.info.dtype} [${part.info.shape.join(", ")}]` : "missing"
  throw new RangeError(`${part?.file ?? file}: ${name} is ${is}, expected ${dtype} [${shape.join(", ")}]`)
}

/** The tensors of a weight as one source of blocks, whole rows of which are read at a time. */
function blocksOf(parts: Parts, dtype: QuantizedDtype, columns: number): Source {
  const { codes, scales, zeros } = parts
  const perRow = columns / BLOCK
  const size = BLOCK_BYTES[dtype]
  const rowBytes = perRow * size
  const byteLength = codes.info.shape[0]! * rowBytes
  return {
    byteLength,
    async slice(start, end) {
      expectRange(codes.info.name, start, end, byteLength)
      const [first, last] = [Math.floor(start / rowBytes), Math.ceil(end / rowBytes)]
      const rows = (stored: StoredTensor, bytes: number) => slice(stored, first * bytes, last * bytes)
      const [code, scale, zero] = await Promise.all([
        rows(codes, codes.info.shape[1]!),
        rows(scales, 4 * perRow),
        zeros && rows(zeros, perRow),
      ])
      const bytes = interleaved(dtype, code, scale, zero)
      return bytes.slice(start - first * rowBytes, end - first * rowBytes).buffer
    },
  }
}

async function slice({ source, info }: StoredTensor, from: number, to: number): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await source.slice(info.start + from, info.start + to))
}

/** Blocks of what lies apart. The last eight bits of a scale have no place beside a zero. */
function interleaved(
  dtype: QuantizedDtype,
  codes: Uint8Array,
  scales: Uint8Array,
  zeros: Uint8Array | undefined,
): Uint8Array<ArrayBuffer> {
  const size = BLOCK_BYTES[dtype]
  const width = dtype === "q4" ? BLOCK / 2 : BLOCK
  const bytes = new Uint8Array((scales.length / 4) * size)
  for (let b = 0, at = 0; at < bytes.length; b++, at += size) {
    bytes.set(codes.subarray(b * width, (b + 1) * width), at)
    bytes.set(scales.subarray(4 * b, 4 * b + 4), at + width)
    if (!zeros) continue
    bytes[at + width] = 0
    bytes[at + width + 4] = zeros[b]!
  }
  return bytes
}
