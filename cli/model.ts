import {
  type Checkpoint,
  type LanguageModel,
  type LoadOptions,
  type LoadProgress,
  load,
  type ModelLocation,
  open,
} from "../src/index.ts"
import type { CheckpointFlags, ModelFlags } from "./options.ts"
import { ProgressDisplay } from "./progress.ts"

/** A loaded model, what the user called it, and how long loading took. */
export interface LoadedModel {
  readonly lm: LanguageModel
  readonly name: string
  /** Folders of the adapters that are on it. */
  readonly adapters: readonly string[]
  readonly loadMs: number
}

/** Opens the checkpoint that the flags name: its headers, no device. */
export function openModel(flags: CheckpointFlags, signal: AbortSignal): Promise<Checkpoint> {
  return withProgress(signal, (onProgress) =>
    open(flags.model, { revision: flags.revision, ignoreKeys: flags.ignoreKey, signal, onProgress }),
  )
}

/** What commands want of a model beyond its flags. */
export interface LoadDetails {
  /** What to load instead of `--model`. */
  readonly location?: ModelLocation
  readonly dtype?: LoadOptions["dtype"]
  /** A model to share the device with. */
  readonly beside?: LanguageModel | undefined
  /** Answers that are to be underway at once. */
  readonly sequences?: number
}

/** Loads the model that the flags name with its adapters, and says so if the CPU has to compute unasked. */
export async function loadModel(
  flags: ModelFlags,
  signal: AbortSignal,
  { location = flags.model, dtype = flags.dtype, beside, sequences }: LoadDetails = {},
): Promise<LoadedModel> {
  const {
    revision,
    ignoreKey: ignoreKeys,
    device,
    context,
    chunk,
    actQuant,
    cacheDtype,
    adapter: adapters = [],
  } = flags
  const prefixCache = flags.prefixCache === undefined ? undefined : { store: flags.prefixCache, onSkip: notSaved }
  const options = {
    revision,
    ignoreKeys,
    device,
    context,
    chunk,
    sequences,
    dtype,
    cacheDtype,
    actQuant,
    prefixCache,
    beside,
    signal,
  }
  const began = performance.now()
  const lm = await withProgress(signal, (onProgress) => load(location, { ...options, onProgress }))
  try {
    for (const [i, folder] of adapters.entries()) await lm.loadAdapter(folder, { name: `${i + 1}`, signal })
  } catch (error) {
    await lm.dispose()
    throw error
  }
  const loadMs = performance.now() - began
  if (lm.device.software && device === "auto" && !beside) {
    process.stderr.write(`gemlet: no GPU found, computing on the CPU with ${lm.device.description}\n`)
  }
  return { lm, name: modelName(flags), adapters, loadMs }
}

/** Says why a saved prefix was of no use, or none was saved; the answer comes all the same. */
function notSaved(reason: string): void {
  process.stderr.write(`gemlet: --prefix-cache: ${reason}\n`)
}

/** What the user called the model. */
export function modelName({ model }: CheckpointFlags): string {
  return model ?? "storyteller"
}

/** Does something that may have to download, and shows how far it is. */
export async function withProgress<T>(
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
