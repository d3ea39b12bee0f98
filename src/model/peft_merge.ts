import { type Checkpoint, type StoredTensor, storedBytes } from "./checkpoint.ts"
import { DTYPE_BYTES, type DType, decodeToFloat32, encodeFloat32 } from "./dtype.ts"
import type { PeftAdapter, PeftModule } from "./peft.ts"
import { linearWeight } from "./peft_targets.ts"
import type { SafetensorsEntry } from "./safetensors.ts"

/** An adapter and how much of its change to add: 1 is all, -1 takes it back. */
export interface MergedAdapter {
  readonly adapter: PeftAdapter
  readonly weight?: number
}

interface Change {
  readonly path: string
  readonly module: PeftModule
  readonly weight: number
}

/** Bytes of a tensor that are held at a time. */
const PIECE = 2 ** 22

/** From here on a value becomes infinite when it is stored. */
const INFINITE: { readonly [dtype in DType]?: number } = {
  F32: Number.POSITIVE_INFINITY,
  F16: 65520,
  BF16: (2 - 2 ** -8) * 2 ** 127,
}

/**
 * The tensors of a checkpoint with adapters added to its weights, for `writeSafetensors`: `W + weight * scale * B A`, or
 * for DoRA `W + weight * (magnitude * V / |V| - W)` with `V = W + scale * B A`, computed row by row and rounded once to
 * float32, then to the dtype that is stored. All other tensors are the stored bytes. Several adapters each add what they
 * would change alone. Nothing is read until the bytes are asked for, and then a few rows at a time.
 *
 * @throws RangeError when a module is not in the checkpoint, has another shape or leaves the dtype's range
 */
export function mergeAdapters(checkpoint: Checkpoint, adapters: readonly MergedAdapter[]): SafetensorsEntry[] {
  const changes = new Map<string, Change[]>() // by tensor name
  for (const { adapter, weight = 1 } of adapters) {
    if (!Number.isFinite(weight)) throw new RangeError(`mergeAdapters: weight is ${weight}, expected a finite number`)
    for (const [path, module] of adapter.modules) {
      const name = tensorName(checkpoint, path, module)
      changes.set(name, [...(changes.get(name) ?? []), { path, module, weight }])
    }
  }
  return [...checkpoint.tensors.values()].map((stored) => {
    const { name, dtype, shape } = stored.info
    const change = changes.get(name)
    return { name, dtype, shape, bytes: () => (change ? mergedRows(stored, change) : storedBytes(stored)) }
  })
}

function tensorName(checkpoint: Checkpoint, path: string, module: PeftModule): string {
  const found = linearWeight(checkpoint, path)
  const fail = (expected: string, why: string) => {
    return new RangeError(`mergeAdapters: ${path} is [${module.out}, ${module.in}], expected ${expected} (${why})`)
  }
  const otherBase = "is the adapter for another base?"
  if (!found) {
    const tied = path.endsWith("lm_head") && checkpoint.config.tiedHead
    const parts = [...checkpoint.weights.values()].some(({ info }) => info.name === `${path}.u.weight`)
    const own = tied
      ? "its head is the embedding, which cannot change alone"
      : "its weight is a product of smaller ones"
    const why = tied || parts ? own : otherBase
    throw fail(`a linear module of ${checkpoint.folder.name}`, why)
  }
  if (found.spec.ternary) {
    throw fail(
      "a dense one",
      "its weight is rounded to trits behind a norm: no weight of that form is the two together",
    )
  }
  const [out, width] = found.info.shape
  if (module.out !== out || module.in !== width) throw fail(`[out, in] = [${out}, ${width}]`, otherBase)
  return found.info.name
}

async function* mergedRows({ source, info }: StoredTensor, changes: readonly Change[]): AsyncGenerator<Uint8Array> {
  const [rows, columns] = info.shape as [number, number]
  const rowBytes = columns * DTYPE_BYTES[info.dtype]
  const step = Math.max(1, Math.floor(PIECE / rowBytes))
  for (let first = 0; first < rows; first += step) {
    const last = Math.min(first + step, rows)
    const start = info.start + first * rowBytes
    const bytes = new Uint8Array(await source.slice(start, info.start + last * rowBytes))
    const values = decodeToFloat32(info.dtype, bytes)
    for (let row = first; row < last; row++) {
      addChanges(values.subarray((row - first) * columns, (row - first + 1) * columns), row, changes)
    }
    expectStorable(values, info.dtype, changes[0]!.path)
    yield encodeFloat32(info.dtype, values)
  }
}

/** Adds to one row of a weight what each adapter changes in it. */
function addChanges(row: Float32Array, index: number, changes: readonly Change[]): void {
  const sum = Float64Array.from(row)
  for (const { module, weight } of changes) {
    const product = rowOfProduct(module, index) // scale * B A
    const factor = module.magnitude ? module.magnitude[index]! / norm(row, product) : 1
    for (let i = 0; i < sum.length; i++) {
      const change = weight * (factor * product[i]! + (factor - 1) * row[i]!)
      if (change !== 0) sum[i] = sum[i]! + change // -0 + 0 would lose its sign
    }
  }
  row.set(sum)
}

function rowOfProduct({ rank, scale, a, b, in: width }: PeftModule, index: number): Float64Array {
  const product = new Float64Array(width)
  for (let r = 0; r < rank; r++) {
    const factor = scale * b[index * rank + r]!
    for (let i = 0; i < width; i++) product[i] = product[i]! + factor * a[r * width + i]!
  }
  return product
}

function norm(row: Float32Array, product: Float64Array): number {
  let squares = 0
  for (let i = 0; i < product.length; i++) squares += (row[i]! + product[i]!) ** 2
  return Math.sqrt(squares)
}

function expectStorable(values: Float32Array, dtype: DType, path: string): void {
  const infinite = INFINITE[dtype]!
  const bad = values.find((value) => !(Math.abs(value) < infinite))
  if (bad === undefined) return
  throw new RangeError(`mergeAdapters: ${path} has ${bad} after the merge, expected a value that ${dtype} can hold`)
}
