import { Engine } from "./engine.ts"
import type { WorkerData } from "./page_wire.ts"
import type { WorkerLanguageModel } from "./worker_model.ts"
import { type WorkerTuneOptions, WorkerTuning } from "./worker_tuning.ts"

export type { OriginStorage, StoredModel } from "../browser.ts"
export { HubError } from "../hub/errors.ts"
export { GpuError } from "../kernels/errors.ts"
export { memoryFolder } from "../model/source.ts"
export { memoryStore } from "../model/store.ts"
export { parseRecord } from "../train/records.ts"
export type { EnginePort } from "./channel.ts"
export {
  Engine,
  type EngineThread,
  type WorkerCheckpoint,
  type WorkerLoadOptions,
  type WorkerQuantizeOptions,
} from "./engine.ts"
export type { StoredFiles, WorkerData, WorkerDataset, WorkerLocation, WorkerStore } from "./page_wire.ts"
export { WorkerError, type WorkerErrorKind } from "./wire_errors.ts"
export type { WorkerGeneration, WorkerGenerationOptions } from "./worker_generation.ts"
export type { WorkerLanguageModel, WorkerTokenizer } from "./worker_model.ts"
export type { WorkerModelStore, WorkerModelStoreOptions } from "./worker_model_store.ts"
export type { WorkerTuneOptions, WorkerTuning } from "./worker_tuning.ts"

let shared: Engine | undefined

/** The engine that the functions here share: begun when it is first asked for, and again after it has ended. */
function engine(): Engine {
  if (!shared || shared.ended) shared = new Engine()
  return shared
}

/**
 * Loads a model in a Worker: a URL of a checkpoint folder, a Hub id, files or a folder that a user picked, or without a location
 * the small storyteller that comes with the package.
 */
export const load: Engine["load"] = async (...args) => engine().load(...args)

/** Reads a checkpoint's headers in the Worker. */
export const open: Engine["open"] = async (...args) => engine().open(...args)

/** Writes a checkpoint with adapters added to its weights. */
export const merge: Engine["merge"] = async (...args) => engine().merge(...args)

/** Writes a checkpoint with its ternary weights as trits. */
export const pack: Engine["pack"] = async (...args) => engine().pack(...args)

/** Writes a checkpoint with its weights in four or eight bits. */
export const quantize: Engine["quantize"] = async (...args) => engine().quantize(...args)

/** The models that the browser keeps for the origin, in the Worker of now: after that has ended, ask for them again. */
export const modelStore: Engine["modelStore"] = (...args) => engine().modelStore(...args)

/** Ends the Worker and all that is in it. What is loaded later gets a new one. */
export function terminate(): void {
  shared?.terminate()
}

/** Trains a model, or an adapter on it, in its worker. Iterate the result for its steps. */
export function tune(lm: WorkerLanguageModel, data: WorkerData, options: WorkerTuneOptions = {}): WorkerTuning {
  return new WorkerTuning(lm, data, options)
}
