import type { Matrix } from "./kernels/tensor.ts"
import { type Checkpoint, storedBytes } from "./model/checkpoint.ts"
import type { Model } from "./model/model.ts"
import { fromRows, type Packing, packedBytes, scaleName } from "./model/packed.ts"
import { type SafetensorsEntry, writeSafetensors } from "./model/safetensors.ts"
import type { Store } from "./model/store.ts"
import { copyFiles } from "./train/model_files.ts"

/**
 * Writes a checkpoint with its ternary weights as trits: `NAME` becomes a tensor of bytes, `[N, C / 4]` in two bits or
 * `[N, 52 C / 256]` in base 3, and `NAME_scale`, `[1]`, what they are multiplied by. All other tensors are as they were.
 *
 * @throws {RangeError} where the model has no ternary weight, or a row that base 3 cannot hold
 */
export async function packInto(store: Store, checkpoint: Checkpoint, model: Model, packing: Packing): Promise<void> {
  if (model.packed.size === 0) {
    throw new RangeError(`pack: ${checkpoint.folder.name} has no ternary weight, expected a model of type hgrn_bit`)
  }
  const scales = new Set([...checkpoint.weights.values()].map(({ scale }) => scale?.info.name))
  const entries: SafetensorsEntry[] = []
  for (const stored of checkpoint.tensors.values()) {
    const { name, dtype, shape } = stored.info
    const packed = model.packed.get(name)
    if (packed) entries.push(...(await tritEntries(model, name, packed, packing)))
    else if (!scales.has(name)) entries.push({ name, dtype, shape, bytes: () => storedBytes(stored) })
  }
  await store.write("model.safetensors", writeSafetensors(entries, { format: "pt" }))
  await copyFiles(checkpoint.folder, store)
}

async function tritEntries(
  { device }: Model,
  name: string,
  { shape: [N, C], parts }: Matrix,
  packing: Packing,
): Promise<SafetensorsEntry[]> {
  if (packing === "base3" && C % 256 !== 0) {
    throw new RangeError(`pack: ${name} has rows of ${C}, expected a multiple of 256 for base3 (two-bit takes any)`)
  }
  const read = async (part: (typeof parts)[number]) => {
    return fromRows(new Uint32Array(await device.read(part.tensor)), part.rows, C, packing)
  }
  const { scale } = await read(parts[0]!)
  const bytes = async function* () {
    for (const part of parts) yield (await read(part)).bytes
  }
  return [
    { name, dtype: "U8", shape: [N, packedBytes(C, packing)], bytes },
    { name: scaleName(name), dtype: "F32", shape: [1], bytes: new Uint8Array(Float32Array.of(scale).buffer) },
  ]
}
