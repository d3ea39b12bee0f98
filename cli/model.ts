import { type Checkpoint, type LanguageModel, type LoadProgress, load, open } from "../src/index.ts"
import type { CheckpointFlags, ModelFlags } from "./options.ts"
import { ProgressDisplay } from "./progress.ts"

/** A loaded model, what the user called it, and how long loading took. */
export interface LoadedModel {
  readonly lm: LanguageModel
  readonly name: string
  readonly loadMs: number
}

/** Opens the checkpoint that the flags name: its headers, no device. */
export function openModel(flags: CheckpointFlags, signal: AbortSignal): Promise<Checkpoint> {
  return withProgress(signal, (onProgress) =>
    open(flags.model, { revision: flags.revision, ignoreKeys: flags.ignoreKey, signal, onProgress }),
  )
}

/** Loads the model that the flags name, and says so if the CPU has to compute unasked. */
export async function loadModel(flags: ModelFlags, signal: AbortSignal): Promise<LoadedModel> {
  const { model, revision, ignoreKey: ignoreKeys, device, context, chunk } = flags
  const began = performance.now()
  const lm = await withProgress(signal, (onProgress) =>
    load(model, { revision, ignoreKeys, device, context, chunk, signal, onProgress }),
  )
  const loadMs = performance.now() - began
  if (lm.device.software && device === "auto") {
    process.stderr.write(`gemlet: no GPU found, computing on the CPU with ${lm.device.description}\n`)
  }
  return { lm, name: modelName(flags), loadMs }
}

/** What the user called the model. */
export function modelName({ model }: CheckpointFlags): string {
  return model ?? "storyteller"
}

async function withProgress<T>(
  signal: AbortSignal,
  work: (onProgress: (progress: LoadProgress) => void) => Promise<T>,
): Promise<T> {
  const display = new ProgressDisplay()
  try {
    return await work((progress) => display.update(progress))
  } catch (error) {
    if (signal.aborted && display.phase === "download") {
      display.stop()
      process.stderr.write("gemlet: download stopped; the next run goes on from there\n")
    }
    throw error
  } finally {
    display.stop()
  }
}
