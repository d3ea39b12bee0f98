import type { Device } from "../kernels/device.ts"
import { byteSize } from "../kernels/tensor.ts"
import type { DType } from "./dtype.ts"
import { show } from "./keys.ts"
import type { Kept } from "./network.ts"
import type { KeptPart } from "./prefix.ts"
import {
  readHeader,
  type SafetensorsEntry,
  type SafetensorsHeader,
  type TensorInfo,
  writeSafetensors,
} from "./safetensors.ts"
import { hex, sha256 } from "./sha256.ts"
import type { Source } from "./source.ts"

const FORMAT = "gemlet-prefix"
/** To be counted up when what was computed before is no longer what would be computed now. */
export const FILE_VERSION = "1"
const DIGEST_BYTES = 32

/**
 * A prefix as a safetensors file: `tokens` `[N]`; of each that is kept its last positions before N, in their order; and
 * `digests`, the SHA-256 of the bytes of each of those tensors, which come last as they are not known before.
 *
 * @param model what the keys and values are of: another model's or adapter's never fit
 */
export function writePrefix(
  device: Device,
  model: string,
  tokens: readonly number[],
  parts: readonly KeptPart[],
): AsyncIterable<Uint8Array> {
  const digests: Uint8Array[] = []
  const hashed = (read: () => Promise<Uint8Array<ArrayBuffer>>) =>
    async function* () {
      const bytes = await read()
      digests.push(await sha256(bytes))
      yield bytes
    }
  const ids = async () => new Uint8Array(Uint32Array.from(tokens).buffer)
  const entries: SafetensorsEntry[] = [
    { name: "tokens", dtype: "U32", shape: [tokens.length], bytes: hashed(ids) },
    ...parts.map((part) => {
      const { name } = part.kept
      const shape = [part.end - part.lowest, ...storedShape(part.kept)]
      return { name, dtype: storedAs(part.kept), shape, bytes: hashed(() => readPart(device, part)) }
    }),
    { name: "digests", dtype: "U8", shape: [1 + parts.length, DIGEST_BYTES], bytes: () => digests },
  ]
  return writeSafetensors(entries, { format: FORMAT, version: FILE_VERSION, model })
}

/** In what form a model keeps what, in words; files of another form are not its own. */
export function layoutOf(kept: readonly Kept[]): string {
  return kept.map((each) => `${each.name} ${storedAs(each)} ${storedShape(each)} ${each.window}`).join("\n")
}

/** Bytes that such a file takes, its header left out. */
export function prefixBytes(tokens: readonly number[], parts: readonly KeptPart[]): number {
  const slots = parts.reduce((sum, { kept, lowest, end }) => sum + (end - lowest) * slotBytes(kept), 0)
  return tokens.length * 4 + slots + (1 + parts.length) * DIGEST_BYTES
}

/** A prefix's file of which the header and the tokens have been read and checked. */
export class PrefixFile {
  readonly name: string
  readonly tokens: readonly number[]
  readonly #source: Source
  readonly #header: SafetensorsHeader
  readonly #digests: Uint8Array

  private constructor(
    name: string,
    source: Source,
    header: SafetensorsHeader,
    { tokens, digests }: { tokens: readonly number[]; digests: Uint8Array },
  ) {
    this.name = name
    this.tokens = tokens
    this.#source = source
    this.#header = header
    this.#digests = digests
  }

  /**
   * Opens a file for a model that keeps this.
   *
   * @param most tokens that it may have
   * @throws SyntaxError for a file that is damaged or of another model, RangeError for one that is too long
   */
  static async open(
    source: Source,
    { name, model, kept, most }: { name: string; model: string; kept: readonly Kept[]; most: number },
  ): Promise<PrefixFile> {
    const header = await readHeader(source, name)
    const { tensors, metadata } = header
    for (const [key, expected] of Object.entries({ format: FORMAT, version: FILE_VERSION, model })) {
      const is = metadata.get(key)
      if (is !== expected) throw new SyntaxError(`${name}: ${key} is ${show(is)}, expected ${expected}`)
    }
    const [tokens, digests] = [tensors.get("tokens"), tensors.get("digests")]
    const N = tokens?.shape[0] ?? 0
    if (tokens?.dtype !== "U32" || tokens.shape.length !== 1 || N < 1) {
      throw new SyntaxError(`${name}: tokens are ${describe(tokens)}, expected U32 [N]`)
    }
    if (N > most) throw new RangeError(`${name}: tokens are ${N}, expected at most the context of ${most}`)
    if (digests?.dtype !== "U8" || String(digests.shape) !== String([1 + kept.length, DIGEST_BYTES])) {
      const expected = `U8 [${1 + kept.length}, ${DIGEST_BYTES}]`
      throw new SyntaxError(`${name}: digests are ${describe(digests)}, expected ${expected}`)
    }
    for (const each of kept) expectKept(name, each, tensors.get(each.name), N)
    const read = async ({ start, end }: TensorInfo) => new Uint8Array(await source.slice(start, end))
    const file = new PrefixFile(name, source, header, {
      tokens: [...new Uint32Array((await read(tokens)).buffer)],
      digests: await read(digests),
    })
    await file.#expectDigest(0, "tokens", await read(tokens))
    return file
  }

  /** The first position of which it has something. */
  lowest({ name }: Kept): number {
    return this.tokens.length - this.#header.tensors.get(name)!.shape[0]!
  }

  /**
   * What it has, `[N - lowest, ...]`.
   *
   * @param i which of those that are kept it is
   * @throws SyntaxError where the bytes are not those that were written
   */
  async read({ name }: Kept, i: number): Promise<Uint8Array<ArrayBuffer>> {
    const { start, end } = this.#header.tensors.get(name)!
    const bytes = new Uint8Array(await this.#source.slice(start, end))
    await this.#expectDigest(1 + i, name, bytes)
    return bytes
  }

  async #expectDigest(row: number, what: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const expected = hex(this.#digests.subarray(row * DIGEST_BYTES, (row + 1) * DIGEST_BYTES))
    const is = hex(await sha256(bytes))
    if (is === expected) return
    throw new SyntaxError(`${this.name}: ${what} has the SHA-256 ${is.slice(0, 12)}, expected ${expected.slice(0, 12)}`)
  }
}

/** Puts positions `[first, end)` into their slots; `rows` begins with those of position `lowest`. */
export function writeSlots(
  device: Device,
  kept: Kept,
  rows: Uint8Array<ArrayBuffer>,
  { lowest, first, end }: { lowest: number; first: number; end: number },
): void {
  const size = slotBytes(kept)
  for (const { position, slot, count } of runs(first, end, kept.tensor.shape[0]!)) {
    const at = (position - lowest) * size
    device.write(kept.tensor, rows.subarray(at, at + count * size), slot * size)
  }
}

/** What lies in the slots of positions `[lowest, end)`, in the order of positions. */
async function readPart(device: Device, { kept, tensor, lowest, end }: KeptPart): Promise<Uint8Array<ArrayBuffer>> {
  const [capacity, ...rest] = tensor.shape as [number, ...number[]]
  const size = slotBytes(kept)
  const used = { ...tensor, shape: [Math.min(capacity, end), ...rest] }
  const slots = new Uint8Array(await device.read(used))
  const rows = new Uint8Array((end - lowest) * size)
  for (const { position, slot, count } of runs(lowest, end, capacity)) {
    rows.set(slots.subarray(slot * size, (slot + count) * size), (position - lowest) * size)
  }
  return rows
}

/** Positions `[first, end)` in runs whose slots lie behind one another; at most `capacity` of them. */
function runs(first: number, end: number, capacity: number): { position: number; slot: number; count: number }[] {
  const slot = first % capacity
  const count = Math.min(end - first, capacity - slot)
  const wrapped = { position: first + count, slot: 0, count: end - first - count }
  return [{ position: first, slot, count }, ...(wrapped.count > 0 ? [wrapped] : [])]
}

function slotBytes({ tensor }: Kept): number {
  return byteSize(tensor.shape, tensor.dtype) / tensor.shape[0]!
}

/** Heads in eight bits are stored as bytes, each with the four of its scale. */
function storedAs({ tensor }: Kept): DType {
  return tensor.dtype === "row8" ? "U8" : (tensor.dtype.toUpperCase() as DType)
}

/** The shape of what a slot holds. */
function storedShape({ tensor }: Kept): readonly number[] {
  const shape = tensor.shape.slice(1)
  return tensor.dtype === "row8" ? [...shape.slice(0, -1), shape.at(-1)! + 4] : shape
}

function expectKept(file: string, kept: Kept, info: TensorInfo | undefined, N: number): void {
  const [count = 0, ...rest] = info?.shape ?? []
  const fits = info?.dtype === storedAs(kept) && String(rest) === String(storedShape(kept))
  if (fits && count >= 1 && count <= N) return
  const expected = `${storedAs(kept)} [1 to ${N}, ${storedShape(kept).join(", ")}]`
  throw new SyntaxError(`${file}: ${kept.name} is ${describe(info)}, expected ${expected}`)
}

function describe(info: TensorInfo | undefined): string {
  return info ? `${info.dtype} [${info.shape.join(", ")}]` : "missing"
}
