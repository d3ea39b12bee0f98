import {
  type PeftAdapter,
  type PeftConfig,
  type PeftModule,
  parsePeftConfig,
  readAdapter,
} from "../../src/model/peft.ts"
import { type DType, encodeBf16, encodeF16, type SafetensorsEntry } from "../../src/model/safetensors.ts"
import { memoryFolder } from "../../src/model/source.ts"
import { type Files, json, readFolder, safetensors, seededRandom } from "./fixture_folders.ts"

export const WEIGHTS = "adapter_model.safetensors"
export const CONFIG = "adapter_config.json"
/** A module that every golden adapts. */
export const Q = "model.layers.0.self_attn.q_proj"

/** The adapter that PEFT saved for a golden. */
export const golden = (name: string) => readFolder(`test/fixtures/goldens/${name}/adapter`)
export const read = (files: Files) => readAdapter(memoryFolder("adapter", files))

export type Tensors = Record<string, [shape: number[], values?: ArrayLike<number>, dtype?: DType]>

export function bytesOf(values: ArrayLike<number>, dtype: DType): Uint8Array {
  const floats = Float32Array.from(values)
  if (dtype === "F64") return new Uint8Array(Float64Array.from(values).buffer)
  if (dtype === "BF16") return new Uint8Array(encodeBf16(floats).buffer)
  if (dtype === "F16") return new Uint8Array(encodeF16(floats).buffer)
  return dtype === "F32" ? new Uint8Array(floats.buffer) : new Uint8Array(floats.length)
}

/** An adapter folder of the given tensors, ones where no values are given. */
export async function folder(config: Record<string, unknown>, tensors: Tensors): Promise<Files> {
  const entries = Object.entries(tensors).map(([name, [shape, values, dtype = "F32"]]): SafetensorsEntry => {
    const ones = new Float32Array(shape.reduce((size, extent) => size * extent, 1)).fill(1)
    return { name, dtype, shape, bytes: bytesOf(values ?? ones, dtype) }
  })
  const minimum = { peft_type: "LORA", target_modules: ["q_proj", "v_proj"] }
  return new Map([
    [CONFIG, json({ ...minimum, ...config })],
    [WEIGHTS, await safetensors(entries)],
  ])
}

/** Names of a module's tensors. */
export const A = (path = Q) => `base_model.model.${path}.lora_A.weight`
export const B = (path = Q) => `base_model.model.${path}.lora_B.weight`
/** The tensors of a module `[5, 3]` of the default rank. */
export const pair = (path = Q, rank = 8): Tensors => ({ [A(path)]: [[rank, 3]], [B(path)]: [[5, rank]] })

/** PEFT's defaults. */
export const basic = parsePeftConfig({ peft_type: "LORA" })

const random = seededRandom(9)

/** A module of random numbers. */
export function module(rank: number, out: number, width: number, scale = 1): PeftModule {
  const values = (length: number) => Float32Array.from({ length }, () => random() - 0.5)
  return { rank, scale, in: width, out, a: values(rank * width), b: values(out * rank) }
}

export function adapterOf(modules: Record<string, PeftModule>, change: Partial<PeftConfig> = {}): PeftAdapter {
  return {
    config: { ...basic, targets: { modules: "all-linear" }, ...change },
    modules: new Map(Object.entries(modules)),
  }
}
