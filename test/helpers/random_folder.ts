import { type ModelConfig, parseConfig } from "../../src/model/config.ts"
import { encodeBf16, writeSafetensors } from "../../src/model/safetensors.ts"
import { expectRange, type Folder, memorySource, type Source } from "../../src/model/source.ts"
import { isHead, type WeightSpec, weightTable } from "../../src/model/weights.ts"
import { random } from "./random_checkpoint.ts"

const STD = 0.02
/** Random numbers that rows are cut from. */
const TABLE = 2 ** 20

/** n numbers from N(0, STD) in bf16 (Box-Muller). */
export function gaussians(n: number): Uint16Array<ArrayBuffer> {
  const next = random(1)
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
  return encodeBf16(Float32Array.from({ length: n }, () => STD * normal()))
}

/** Where a tensor lies in the file, and what its rows are. */
interface Rows {
  readonly start: number
  readonly end: number
  readonly rowBytes: number
  row(index: number): Uint8Array
}

/**
 * A checkpoint with random weights in bf16 whose bytes are made as they are read, so that it takes neither disk nor memory
 * whatever its size. Norms are the identity and lower bounds 0, as in a model that is about to be trained.
 *
 * @param json its config.json
 */
export async function randomFolder(name: string, json: Record<string, unknown>): Promise<Folder> {
  const config = parseConfig(json, "config.json")
  const table = weightTable(config)
  const entries = table.map((spec) => ({
    name: isHead(spec) ? spec.name : `model.${spec.name}`,
    dtype: "BF16" as const,
    shape: [...spec.shape],
    bytes: () => [],
  }))
  const header = (await writeSafetensors(entries).next()).value!
  const files: Record<string, Source> = {
    "config.json": memorySource(new TextEncoder().encode(JSON.stringify(json))),
    "model.safetensors": rowSource(header, rowsOf(config, table, header.byteLength)),
  }
  return { name, open: async (file) => files[file], list: async () => Object.keys(files) }
}

/** The tensors behind a header of so many bytes. */
function rowsOf(config: ModelConfig, table: readonly WeightSpec[], headerBytes: number): Rows[] {
  const widest = Math.max(...table.map(({ shape }) => shape.at(-1)!))
  const numbers = new Uint8Array(gaussians(TABLE + widest).buffer)
  const identity = config.modelType === "hgrn_bit" ? 1 : 1 - config.normOffset
  const next = random(2)
  let end = headerBytes
  return table.map(({ field, shape }) => {
    const [rowBytes, rows] = [2 * shape.at(-1)!, shape.length === 1 ? 1 : shape[0]!]
    const start = end
    end += rows * rowBytes
    if (shape.length > 1 && field !== "lowerBounds")
      return { start, end, rowBytes, row: randomRows(numbers, rowBytes, next) }
    const value = field === "lowerBounds" ? 0 : identity
    const constant = new Uint8Array(encodeBf16(new Float32Array(rowBytes / 2).fill(value)).buffer)
    return { start, end, rowBytes, row: () => constant }
  })
}

/**
 * Row r is cut from the table at `offset + r * stride`: with an odd stride no two rows begin at the same place, and they cost
 * no more than a copy.
 */
function randomRows(numbers: Uint8Array, rowBytes: number, next: () => number): Rows["row"] {
  const offset = Math.floor(next() * TABLE)
  const stride = Math.floor(next() * TABLE) | 1
  return (row) => {
    const at = 2 * ((offset + row * stride) % TABLE)
    return numbers.subarray(at, at + rowBytes)
  }
}

/** A header, and tensors behind one another. */
function rowSource(header: Uint8Array, tensors: readonly Rows[]): Source {
  const byteLength = tensors.at(-1)!.end
  const all = [{ start: 0, end: header.byteLength, rowBytes: header.byteLength, row: () => header }, ...tensors]
  return {
    byteLength,
    async slice(start, end) {
      expectRange("model.safetensors", start, end, byteLength)
      const bytes = new Uint8Array(end - start)
      for (const tensor of all) {
        const last = Math.min(end, tensor.end)
        for (let at = Math.max(start, tensor.start); at < last; ) {
          const row = Math.floor((at - tensor.start) / tensor.rowBytes)
          const from = at - tensor.start - row * tensor.rowBytes
          const part = tensor.row(row).subarray(from, from + last - at)
          bytes.set(part, at - start)
          at += part.byteLength
        }
      }
      return bytes.buffer
    },
  }
}
