// An ONNX model being written: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
import { type FileHandle, open, writeFile } from "node:fs/promises"
import { basename, join } from "node:path"
import { encodeMessage, type FieldValue, type Float, type Message } from "./protobuf.ts"

/** Element types by ONNX's codes. */
const ELEMENTS = { f32: 1, u8: 2, i64: 7, i32: 6, f16: 10 } as const
export type Element = keyof typeof ELEMENTS

type Pieces = AsyncIterable<Uint8Array> | Iterable<Uint8Array>
type Attribute = number | Float

/** Operators of onnxruntime's own, beside those of ONNX. */
const CONTRIB = "com.microsoft"
const FLOAT = 1
const INTEGER = 2

/** Its graph is kept in memory, its weights go straight into the file of data beside it. */
export class OnnxFile {
  readonly #path: string
  readonly #data: FileHandle
  #length = 0
  readonly #nodes: Message[] = []
  readonly #weights = new Map<string, Message>()
  readonly #inputs: Message[] = []
  readonly #outputs: Message[] = []

  private constructor(path: string, data: FileHandle) {
    this.#path = path
    this.#data = data
  }

  static async create(folder: string, name: string): Promise<OnnxFile> {
    const path = join(folder, name)
    return new OnnxFile(path, await open(`${path}_data`, "wx"))
  }

  input(name: string, element: Element, shape: readonly (string | number)[]): string {
    this.#inputs.push(valueInfo(name, element, shape))
    return name
  }

  output(name: string, element: Element, shape: readonly (string | number)[]): void {
    this.#outputs.push(valueInfo(name, element, shape))
  }

  /** A tensor in the file of data. Returns its name. */
  async weight(name: string, element: Element, shape: readonly number[], pieces: Pieces): Promise<string> {
    const start = this.#length
    for await (const piece of pieces) {
      await this.#data.writeFile(piece)
      this.#length += piece.byteLength
    }
    const place = { location: `${basename(this.#path)}_data`, offset: `${start}`, length: `${this.#length - start}` }
    const external = Object.entries(place).map(([key, value]) => ({ 1: key, 2: value }))
    this.#weights.set(name, { 1: shape, 2: ELEMENTS[element], 8: name, 13: external, 14: 1 })
    return name
  }

  /** A weight's bytes under another name and shape. Returns that name. */
  alias(name: string, of: string, shape: readonly number[]): string {
    this.#weights.set(name, { ...this.#weights.get(of), 1: shape, 8: name })
    return name
  }

  /** A small tensor of integers in the graph itself. Returns its name. */
  integers(name: string, values: readonly number[]): string {
    const bytes = new Uint8Array(BigInt64Array.from(values, BigInt).buffer)
    this.#weights.set(name, { 1: [values.length], 2: ELEMENTS.i64, 8: name, 9: bytes })
    return name
  }

  /** An operator; its outputs are called after it, with their number where there are several. */
  node(
    operator: string,
    name: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    outputs: readonly string[] = [name],
  ): string {
    const contrib = CONTRIB_OPERATORS.has(operator)
    const encoded = Object.entries(attributes).map(([key, value]) => attribute(key, value))
    this.#nodes.push({ 1: inputs, 2: outputs, 3: name, 4: operator, 5: encoded, 7: contrib ? CONTRIB : undefined })
    return name
  }

  async close(): Promise<void> {
    await this.#data.close()
    const graph = { 1: this.#nodes, 2: "gemma3", 5: [...this.#weights.values()], 11: this.#inputs, 12: this.#outputs }
    const opsets = [{ 2: 21 }, { 1: CONTRIB, 2: 1 }]
    await writeFile(this.#path, encodeMessage({ 1: 10, 2: "gemlet bench", 7: graph, 8: opsets }))
  }
}

const CONTRIB_OPERATORS = new Set([
  "FastGelu",
  "GatherBlockQuantized",
  "GroupQueryAttention",
  "MatMulNBits",
  "SkipSimplifiedLayerNormalization",
])

function attribute(name: string, value: Attribute): Message {
  return typeof value === "number" ? { 1: name, 3: value, 20: INTEGER } : { 1: name, 2: value, 20: FLOAT }
}

function valueInfo(name: string, element: Element, shape: readonly (string | number)[]): Message {
  const dimensions: FieldValue[] = shape.map((n) => (typeof n === "string" ? { 2: n } : { 1: n }))
  return { 1: name, 2: { 1: { 1: ELEMENTS[element], 2: { 1: dimensions } } } }
}
