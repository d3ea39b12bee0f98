import { BLOCK, BLOCK_BYTES, DTYPE_BYTES, isBlockType } from "../dtype.ts"
import { clip, show } from "../keys.ts"
import type { Source } from "../source.ts"
import { ByteReader, type GgufValue, HEADER_LIMIT, MoreBytes } from "./bytes.ts"

/** A tensor's type, as far as we read it. */
export type GgufType = "F32" | "F16" | "BF16" | "Q8_0" | "Q4_0"

/** One tensor of a file. `start` and `end` are byte offsets from the beginning of the file. */
export interface GgufTensor {
  readonly name: string
  readonly type: GgufType
  /** Rows first: the file has it the other way round. */
  readonly shape: readonly number[]
  readonly start: number
  readonly end: number
}

/** What a GGUF file says about itself. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly tensors: ReadonlyMap<string, GgufTensor>
}

/** ggml's tensor types by their code (`enum ggml_type`). A hole is a type that was taken back. */
const TYPES =
  `F32 F16 Q4_0 Q4_1 - - Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL
  IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64 IQ1_M BF16 - - - TQ1_0 TQ2_0 - - - MXFP4 NVFP4`.split(/\s+/)
const READ: readonly string[] = ["F32", "F16", "BF16", "Q8_0", "Q4_0"] satisfies GgufType[]

/** "GGUF". */
const MAGIC = 0x46554747
const FIRST_BYTES = 2 ** 20
/** Far above any model of the families here. */
const MOST_ENTRIES = 65536
const MOST_DIMENSIONS = 4
const DEFAULT_ALIGNMENT = 32

/**
 * Reads and checks a header. No more of the file is read than twice its length, and never more than 64 MiB.
 *
 * @param name what errors call the file
 * @throws SyntaxError for a damaged file, TypeError for a tensor in a type that is not read here
 */
export async function readGgufHeader(source: Source, name: string): Promise<GgufHeader> {
  const { metadata, infos, end } = await readParts(source, name)
  const alignment = metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT
  if (typeof alignment !== "number" || !Number.isSafeInteger(alignment) || alignment < 8 || alignment % 8 !== 0) {
    throw new SyntaxError(`${name}: general.alignment is ${show(alignment)}, expected a multiple of 8`)
  }
  const dataStart = Math.ceil(end / alignment) * alignment
  const tensors = infos.map((info) => place(info, dataStart, alignment, name))
  expectApart(tensors, source.byteLength, name)
  return { metadata, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])) }
}

/** A tensor as the header writes it: the innermost extent first, the offset from where the data begin. */
interface Info {
  readonly name: string
  readonly extents: readonly number[]
  readonly type: number
  readonly offset: number
}

interface Parts {
  readonly metadata: Map<string, GgufValue>
  readonly infos: readonly Info[]
  /** Where the header ends. */
  readonly end: number
}

/** How long a header is, only reading it tells: twice as many bytes each time, until it fits. */
async function readParts(source: Source, name: string): Promise<Parts> {
  let bytes = new Uint8Array(0)
  for (let size = FIRST_BYTES; ; size *= 2) {
    const more = new Uint8Array(Math.min(size, source.byteLength, HEADER_LIMIT))
    more.set(bytes)
    more.set(new Uint8Array(await source.slice(bytes.byteLength, more.byteLength)), bytes.byteLength)
    bytes = more
    try {
      return parse(new ByteReader(bytes, name), name)
    } catch (error) {
      if (!(error instanceof MoreBytes)) throw error
      if (bytes.byteLength < source.byteLength) continue
      throw new SyntaxError(
        `${name}: length is ${bytes.byteLength} bytes, expected a whole header (is the file cut short?)`,
      )
    }
  }
}

function parse(reader: ByteReader, file: string): Parts {
  const magic = reader.u32()
  if (magic !== MAGIC) throw new SyntaxError(`${file}: first bytes are 0x${magic.toString(16)}, expected "GGUF"`)
  const version = reader.u32()
  if (version !== 2 && version !== 3) {
    const is = version % 65536 === 0 ? "of a big-endian file" : version
    throw new SyntaxError(`${file}: version is ${is}, expected 2 or 3`)
  }
  const [tensorCount, entryCount] = [reader.u64(), reader.u64()]
  for (const [what, count] of [["tensors", tensorCount] as const, ["metadata", entryCount] as const]) {
    if (count > MOST_ENTRIES) throw new SyntaxError(`${file}: ${what} are ${count}, expected at most ${MOST_ENTRIES}`)
  }
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < entryCount; i++) {
    const key = reader.string("a metadata key")
    if (metadata.has(key)) throw new SyntaxError(`${file}: ${clip(key)} is there twice, expected once`)
    metadata.set(key, reader.value(key))
  }
  const infos = new Map<string, Info>()
  for (let i = 0; i < tensorCount; i++) {
    const info = readInfo(reader, file)
    if (infos.has(info.name)) throw new SyntaxError(`${file}: ${clip(info.name)} is there twice, expected once`)
    infos.set(info.name, info)
  }
  return { metadata, infos: [...infos.values()], end: reader.at }
}

function readInfo(reader: ByteReader, file: string): Info {
  const name = reader.string("a tensor's name")
  const dimensions = reader.u32()
  if (dimensions < 1 || dimensions > MOST_DIMENSIONS) {
    throw new SyntaxError(`${file}: ${clip(name)} has ${dimensions} dimensions, expected 1 to ${MOST_DIMENSIONS}`)
  }
  const extents = Array.from({ length: dimensions }, () => reader.u64())
  return { name, extents, type: reader.u32(), offset: reader.u64() }
}

/** Checks a tensor and finds its bytes. */
function place(
  { name, extents, type: code, offset }: Info,
  dataStart: number,
  alignment: number,
  file: string,
): GgufTensor {
  const fail = (what: string, expected: string) =>
    new SyntaxError(`${file}: ${clip(name)} ${what}, expected ${expected}`)
  const type = TYPES[code] ?? "-"
  if (!isRead(type)) {
    const is = type === "-" ? `of type ${code}` : type
    throw new TypeError(`${file}: ${clip(name)} is ${is}, expected ${READ.slice(0, -1).join(", ")} or ${READ.at(-1)}`)
  }
  const size = tensorBytes(type, extents)
  if (size === undefined) {
    const rows = isBlockType(type) ? `, rows of ${type} being multiples of ${BLOCK}` : ""
    throw fail(`is ${show([...extents].reverse())}`, `a size from 1 to 2^53 bytes${rows}`)
  }
  if (offset % alignment !== 0) throw fail(`begins at ${offset}`, `a multiple of ${alignment}`)
  return { name, type, shape: [...extents].reverse(), start: dataStart + offset, end: dataStart + offset + size }
}

function isRead(type: string): type is GgufType {
  return READ.includes(type)
}

/** Bytes of a tensor; undefined for a size that cannot be. */
function tensorBytes(type: GgufType, extents: readonly number[]): number | undefined {
  const elements = extents.reduce((product, extent) => product * extent, 1)
  if (extents.includes(0) || !Number.isSafeInteger(elements * DTYPE_BYTES.F32)) return undefined
  if (!isBlockType(type)) return elements * DTYPE_BYTES[type]
  return extents[0]! % BLOCK === 0 ? (elements / BLOCK) * BLOCK_BYTES[type] : undefined
}

function expectApart(tensors: readonly GgufTensor[], byteLength: number, file: string): void {
  let before: GgufTensor | undefined
  for (const tensor of [...tensors].sort((a, b) => a.start - b.start)) {
    const { name, start, end } = tensor
    if (end > byteLength) {
      throw new SyntaxError(
        `${file}: ${clip(name)} ends at ${end}, expected at most ${byteLength} (is the file cut short?)`,
      )
    }
    if (before && start < before.end) {
      throw new SyntaxError(
        `${file}: ${clip(name)} starts at ${start}, expected ${before.end} (it overlaps ${clip(before.name)})`,
      )
    }
    before = tensor
  }
}
