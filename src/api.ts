// What both entries give beside `load` and `open`.
export type { FinishReason, Generation, GenerationOptions, Piece, Timings } from "./generation.ts"
export { HubError } from "./hub/errors.ts"
export type { DownloadProgress } from "./hub/progress.ts"
export { formatBytes, type Memory } from "./kernels/device.ts"
export { GpuError, type GpuErrorKind } from "./kernels/errors.ts"
export type { Sampling } from "./kernels/sample.ts"
export {
  type LoadBytes,
  type LoadOptions,
  type LoadProgress,
  loadBytes,
  type ModelLocation,
  type OpenModelOptions,
} from "./load.ts"
export type { Checkpoint, StoredTensor } from "./model/checkpoint.ts"
export type { GenerationConfig, LayerConfig, ModelConfig } from "./model/config.ts"
export {
  flopsPerToken,
  kvCacheBytes,
  kvCacheBytesAllGlobal,
  kvCacheBytesFormula,
  parameterCounts,
} from "./model/cost.ts"
export type { HostArray, LossAndGradients } from "./model/model.ts"
export {
  blobSource,
  type Folder,
  filesFolder,
  memoryFolder,
  memorySource,
  type Source,
  urlFolder,
  urlSource,
} from "./model/source.ts"
export { DEVICE_KINDS, type DeviceKind } from "./platform/platform.ts"
export type { GradientOptions, LanguageModel, Prompt, Score } from "./session.ts"
export type { Message } from "./tokenizer/chat.ts"
export { createTokenizer, type Tokenizer } from "./tokenizer/tokenizer.ts"
