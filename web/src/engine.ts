// All that the page knows of gemlet: the engine in a Worker, behind the API of `load`.

import { GpuError, WorkerError } from "../../src/worker/index.ts"

export type {
  AttentionHead,
  DownloadProgress,
  LoadProgress,
  Memory,
  Message,
  Predictions,
  Preflight,
  TuneSettings,
  TuneStep,
} from "../../src/api.ts"
export {
  GpuError,
  HubError,
  load,
  merge,
  modelStore,
  type OriginStorage,
  open,
  parseRecord,
  type StoredModel,
  terminate,
  tune,
  type WorkerCheckpoint,
  WorkerError,
  type WorkerGenerationOptions,
  type WorkerLanguageModel,
  type WorkerLoadOptions,
  type WorkerLocation,
  type WorkerTuning,
} from "../../src/worker/index.ts"

/** Where the page's own model lies: beside the page, as the built folder has it. */
export const STORYTELLER = new URL("weights/storyteller", document.baseURI)

/** Whether the model is gone, and all others of the engine: then it is to be loaded anew. */
export function isLost(error: unknown): boolean {
  return error instanceof WorkerError || (error instanceof GpuError && error.kind === "lost")
}
