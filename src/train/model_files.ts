import type { Variable } from "../kernels/tape.ts"
import { encodeFloat32 } from "../model/dtype.ts"
import type { Model } from "../model/model.ts"
import { readValues } from "../model/parameter.ts"
import type { DType, SafetensorsEntry } from "../model/safetensors.ts"
import type { Folder } from "../model/source.ts"
import type { Store } from "../model/store.ts"

/** What a model folder holds beside its weights. */
const SMALL_FILES = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
  "chat_template.json",
  "special_tokens_map.json",
  "added_tokens.json",
]

/** Copies what a model folder holds beside its weights. */
export async function copyFiles(from: Folder, to: Store): Promise<void> {
  for (const file of SMALL_FILES) {
    const source = await from.open(file)
    if (source) await to.write(file, [new Uint8Array(await source.slice(0, source.byteLength))])
  }
  await from.close?.()
}

/** The weights as the checkpoint stored them, rounded to its types, to be read while they are written. */
export function modelEntries(model: Model): SafetensorsEntry[] {
  return [...model.parameters].map(([name, { variable }]) => entry(model, name, variable, model.stored.get(name)!))
}

/** The weights as they are. */
export function weightEntries(model: Model): SafetensorsEntry[] {
  return [...model.parameters].map(([name, { variable }]) => entry(model, name, variable, "F32"))
}

function entry({ device }: Model, name: string, variable: Variable, dtype: DType): SafetensorsEntry {
  const { shape } = variable
  const bytes = async function* () {
    yield encodeFloat32(dtype, await readValues(device, variable, shape))
  }
  return { name, dtype, shape, bytes }
}
