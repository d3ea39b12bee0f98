import type { Device } from "./kernels/device.ts"
import type { QuantizedDtype } from "./kernels/quantize.ts"
import { type Checkpoint, type StoredTensor, storedBytes, type Weight } from "./model/checkpoint.ts"
import { BLOCK, BLOCK_BYTES } from "./model/dtype.ts"
import { scaleName } from "./model/packed.ts"
import { freeVariable } from "./model/parameter.ts"
import { CODES, codeShape, FROM, SCALES, ZEROS, zeroName } from "./model/quantized.ts"
import { type CodedRows, fromRows } from "./model/quantized_rows.ts"
import { readFloat32, type SafetensorsEntry, writeSafetensors } from "./model/safetensors.ts"
import type { Store } from "./model/store.ts"
import { type Quantized, quantizedWeights, uploadCodes } from "./model/upload.ts"
import { type Feedback, feedback, roundToFour } from "./train/gptq.ts"
import type { Moments } from "./train/input_moments.ts"
import { copyFiles } from "./train/model_files.ts"

/** What a quantized checkpoint takes, and what it took. */
export interface Quantization {
  /** Of all tensors. */
  readonly bytesBefore: number
  readonly bytesAfter: number
  /** Names of the weights that are stored as codes. */
  readonly weights: readonly string[]
  /** Those of them that were rounded for the moments of their inputs. */
  readonly calibrated: readonly string[]
}

export interface QuantizeIntoOptions {
  readonly dtype: QuantizedDtype
  /**
   * The second moment `[C, C]` of each layer's inputs, by path, for q4: what is kept are its outputs on these. Each is asked for
   * once, in the order of the weights.
   */
  readonly moments?: Moments | undefined
  /** Told of each weight that has been rounded. */
  readonly onWeight?: ((name: string, done: number, of: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/** Rows that are rounded for moments before a signal is looked at, and written. */
const ROWS = 1024

/**
 * Writes a checkpoint with the weights that a model loaded with that dtype has in q4 or q8 as codes (docs/quantization.md has the
 * format). All other tensors are as they were, but for the copy of a tied head. One weight at a time is in memory.
 *
 * @param device rounds them as at load, where there is no moment
 * @throws {RangeError} where nothing is rounded, or a moment has another size
 */
export async function quantizeInto(
  store: Store,
  checkpoint: Checkpoint,
  device: Device,
  options: QuantizeIntoOptions,
): Promise<Quantization> {
  const { dtype, moments, onWeight } = options
  const quantized = quantizedWeights(checkpoint, dtype)
  if (quantized.size === 0) {
    throw new RangeError(`quantize: ${checkpoint.folder.name} has no weight with rows of a multiple of ${BLOCK}`)
  }
  const calibrated = moments ? withMoments(checkpoint, quantized, moments) : new Map<string, Calibrated>()
  let done = 0
  const entries = inOrder(checkpoint).flatMap((stored): SafetensorsEntry[] => {
    const { name, dtype, shape } = stored.info
    const weight = quantized.get(name)
    if (!weight) return isTiedHead(checkpoint, name) ? [] : [{ name, dtype, shape, bytes: () => storedBytes(stored) }]
    const found = calibrated.get(name)
    const rows = found ? () => roundedRows(found, options) : () => rowsOnGpu(device, checkpoint, weight, options)
    return codedEntries(weight, rows, () => onWeight?.(name, ++done, quantized.size))
  })
  const { info, blocks } = checkpoint.weights.get("embedding")!
  const metadata = { format: "pt", [FROM]: blocks?.from ?? info.dtype }
  await store.write("model.safetensors", writeSafetensors(entries, metadata))
  await copyFiles(checkpoint.folder, store)
  return { ...sizes(checkpoint, quantized), weights: [...quantized.keys()], calibrated: [...calibrated.keys()] }
}

/** All tensors: first those that are no part of the text model, then its weights in their order. */
function inOrder({ tensors, weights }: Checkpoint): StoredTensor[] {
  const places = new Map([...weights.values()].map(({ info }, place) => [info.name, place]))
  const place = ({ info }: StoredTensor) => places.get(info.name) ?? -1
  return [...tensors.values()].sort((a, b) => place(a) - place(b))
}

/** A weight and the moments among which is that of what it multiplies. */
interface Calibrated {
  readonly weight: Weight
  readonly moments: Moments
  readonly path: string
}

/** The weights, by name, that are rounded for the moments of their inputs. What has codes already keeps them. */
function withMoments(
  { weights, folder }: Checkpoint,
  quantized: ReadonlyMap<string, Quantized>,
  moments: Moments,
): Map<string, Calibrated> {
  const calibrated = new Map<string, Calibrated>()
  for (const weight of weights.values()) {
    const { name } = weight.info
    const dtype = quantized.get(name)?.dtype
    if (dtype === "q8") throw new RangeError("quantize: moments are given with q8, expected q4")
    const path = name.replace(/(\.v)?\.weight$/, "") // a low-rank layer's input meets v
    if (dtype && moments.has(path) && !weight.blocks) calibrated.set(name, { weight, moments, path })
  }
  if (calibrated.size > 0) return calibrated
  throw new RangeError(`quantize: moments are of no weight of ${folder.name}, expected those of its inputs`)
}

/** Whether a tensor is a head that is stored although the embedding is it. */
function isTiedHead({ config, weights }: Checkpoint, name: string): boolean {
  return (
    config.tiedHead && name.endsWith("lm_head.weight") && ![...weights.values()].some(({ info }) => info.name === name)
  )
}

/** Bytes of all tensors, before and after. */
function sizes(checkpoint: Checkpoint, quantized: ReadonlyMap<string, Quantized>) {
  let [bytesBefore, bytesAfter] = [0, 0]
  for (const { info, blocks } of checkpoint.tensors.values()) {
    const weight = quantized.get(info.name)
    const { start, end } = blocks ?? info
    bytesBefore += end - start
    if (weight) bytesAfter += codedSize(weight)
    else if (!isTiedHead(checkpoint, info.name)) bytesAfter += info.end - info.start
  }
  return { bytesBefore, bytesAfter }
}

function codedSize({ weight, dtype }: Quantized): number {
  const [N, C] = shapeOf(weight)
  return ((N * C) / BLOCK) * BLOCK_BYTES[dtype]
}

function shapeOf({ spec }: Weight): readonly [number, number] {
  return spec.shape as [number, number]
}

/** The tensors of a weight. The codes are made, and the rest with them, when it is their turn; the rest comes next. */
function codedEntries(
  { weight, dtype }: Quantized,
  rows: () => AsyncIterable<CodedRows>,
  onDone: () => void,
): SafetensorsEntry[] {
  const { name } = weight.info
  const [N, C] = shapeOf(weight)
  const [scales, zeros]: [Uint8Array[], Uint8Array[]] = [[], []]
  async function* codes() {
    for await (const each of rows()) {
      scales.push(new Uint8Array(each.scales.buffer, each.scales.byteOffset, each.scales.byteLength))
      zeros.push(each.zeros)
      yield each.codes
    }
    onDone()
  }
  const perBlock = [N, C / BLOCK]
  return [
    { name, dtype: CODES[dtype], shape: codeShape([N, C], dtype), bytes: codes },
    { name: scaleName(name), dtype: SCALES, shape: perBlock, bytes: () => scales.splice(0) },
    ...(dtype === "q4"
      ? [{ name: zeroName(name), dtype: ZEROS, shape: perBlock, bytes: () => zeros.splice(0) } as const]
      : []),
  ]
}

/** The codes that a model computes with. */
async function* rowsOnGpu(
  device: Device,
  checkpoint: Checkpoint,
  quantized: Quantized,
  { signal }: QuantizeIntoOptions,
): AsyncGenerator<CodedRows> {
  const matrix = await uploadCodes(device, checkpoint, quantized, signal)
  try {
    for (const { rows, tensor } of matrix.parts) {
      signal?.throwIfAborted()
      yield fromRows(quantized.dtype, new Uint32Array(await device.read(tensor)), rows, matrix.shape[1])
    }
  } finally {
    freeVariable(device, matrix)
  }
}

/** Those that keep what a weight gives on inputs of a moment, in q4. */
async function* roundedRows({ weight, moments, path }: Calibrated, { signal }: QuantizeIntoOptions) {
  const [N, C] = shapeOf(weight)
  const inputs = feedback((await moments.get(path))!, C)
  for (let row = 0; row < N; row += ROWS) {
    signal?.throwIfAborted()
    yield await round(weight, row, Math.min(N, row + ROWS), inputs)
  }
}

async function round({ info, source, spec }: Weight, from: number, to: number, inputs: Feedback): Promise<CodedRows> {
  const rowBytes = (info.end - info.start) / spec.shape[0]!
  const part = { ...info, start: info.start + from * rowBytes, end: info.start + to * rowBytes }
  const { codes, scales, zeros } = roundToFour(await readFloat32(source, part), inputs)
  const pairs = Uint8Array.from({ length: codes.length / 2 }, (_, i) => codes[2 * i]! | (codes[2 * i + 1]! << 4))
  return { codes: pairs, scales, zeros }
}
