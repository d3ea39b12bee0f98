import type { Checkpoint } from "./model/checkpoint.ts"
import { type MergedAdapter, mergeAdapters } from "./model/peft.ts"
import { writeSafetensors } from "./model/safetensors.ts"
import type { Store } from "./model/store.ts"
import { copyFiles } from "./train/model_files.ts"

/** Writes a checkpoint with adapters added to its weights, in the types that it has, into one file. */
export async function mergeInto(
  store: Store,
  checkpoint: Checkpoint,
  adapters: readonly MergedAdapter[],
): Promise<void> {
  const entries = mergeAdapters(checkpoint, adapters)
  await store.write("model.safetensors", writeSafetensors(entries, { format: "pt" }))
  await copyFiles(checkpoint.folder, store)
}
