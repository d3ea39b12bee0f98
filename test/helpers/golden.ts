import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { decodeToFloat32 } from "../../src/model/dtype.ts"

export function fixture(path: string): string {
  return fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url))
}

export interface Golden {
  readonly prompts: readonly { readonly ids: number[]; readonly what?: string }[]
  /** What greedy decoding goes on with after some ids. */
  readonly greedy: readonly {
    readonly ids: readonly number[]
    readonly new_tokens: number[]
    readonly exact_until?: number
  }[]
  /** Values and tolerance of a named tensor. */
  tensor(name: string): { data: Float32Array; shape: number[]; tolerance: number }
  has(name: string): boolean
}

/** The reference's numbers beside a checkpoint. Reads whole files: they are small. */
export function golden(folder: string): Golden {
  const json = JSON.parse(readFileSync(fixture(`${folder}/golden.json`), "utf8"))
  const bytes = readFileSync(fixture(`${folder}/golden.safetensors`))
  const headerLength = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + headerLength).toString())
  return {
    ...json,
    greedy: (json.greedy ?? []).map((run: { prompt: number; ids?: number[] }) => {
      return { ...run, ids: run.ids ?? json.prompts[run.prompt].ids }
    }),
    has: (name) => name in header,
    tensor(name) {
      const { dtype, shape, data_offsets } = header[name]
      const [start, end] = data_offsets.map((offset: number) => 8 + headerLength + offset)
      const raw = new Uint8Array(bytes.subarray(start, end))
      const data = decode(dtype, raw)
      return { data, shape, tolerance: json.tensors[name].tol_abs }
    },
  }
}

function decode(dtype: string, raw: Uint8Array<ArrayBuffer>): Float32Array {
  if (dtype === "I32") return Float32Array.from(new Int32Array(raw.buffer))
  if (dtype === "F64") return Float32Array.from(new Float64Array(raw.buffer))
  return decodeToFloat32(dtype as "F32", raw)
}
