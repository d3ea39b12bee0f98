// What both entries give beside `load` and `open`.

export { type Divergence, divergence } from "./divergence.ts"
export type { FinishReason, Generation, GenerationOptions, Piece, Timings } from "./generation.ts"
export type { Schema } from "./grammar/schema.ts"
export { HubError, type HubErrorCode } from "./hub/errors.ts"
export type { DownloadProgress } from "./hub/progress.ts"
export { formatBytes, type Memory } from "./kernels/device.ts"
export { GpuError, type GpuErrorKind } from "./kernels/errors.ts"
export type { LogProbability, TokenLogProbability } from "./kernels/likeliest.ts"
export type { Sampling } from "./kernels/sample.ts"
export type { Tuning as KernelTuning } from "./kernels/tuning.ts"
export {
  type LoadBytes,
  type LoadOptions,
  type LoadProgress,
  loadBytes,
  type OpenModelOptions,
  type PackOptions,
  type PrefixCacheOptions,
  type QuantizeOptions,
} from "./load.ts"
export type { AttentionHead } from "./model/attention_weights.ts"
export type { Checkpoint, StoredTensor } from "./model/checkpoint.ts"
export type { GenerationConfig, ModelConfig } from "./model/config.ts"
export {
  CACHE_DTYPES,
  type CacheDtype,
  cacheBytes,
  cacheElementBytes,
  flopsPerToken,
  kvCacheBytes,
  kvCacheBytesAllGlobal,
  kvCacheBytesFormula,
  type ParameterCounts,
  parameterCounts,
} from "./model/cost.ts"
export type { HostArray } from "./model/evaluate.ts"
export type { LossAndGradients } from "./model/gradients.ts"
export type { HgrnConfig } from "./model/hgrn_config.ts"
export { ACT_QUANTS, type ActQuant } from "./model/linear.ts"
export { PACKINGS, type Packing } from "./model/packed.ts"
export { type PeftAdapter, type PeftConfig, type PeftModule, readAdapter } from "./model/peft.ts"
export type { Predictions } from "./model/predictions.ts"
export type { PrefixStore, StoredFile } from "./model/prefix_store.ts"
export {
  blobSource,
  type Folder,
  filesFolder,
  type ModelLocation,
  memoryFolder,
  memorySource,
  type Source,
  urlFolder,
  urlSource,
} from "./model/source.ts"
export { type MemoryStore, memoryStore, type Store } from "./model/store.ts"
export type { LayerConfig, TransformerConfig } from "./model/transformer_config.ts"
export { WEIGHT_PRECISIONS, type WeightPrecision } from "./model/upload.ts"
export { DEVICE_KINDS, type DeviceKind } from "./platform/platform.ts"
export type { Prompt } from "./prompt.ts"
export type { Quantization } from "./quantize.ts"
export { answerSeed } from "./seeds.ts"
export type { AdapterOptions, GradientOptions, LanguageModel, Score } from "./session.ts"
export type { Message } from "./tokenizer/chat.ts"
export { createTokenizer, type Tokenizer } from "./tokenizer/tokenizer.ts"
export {
  type CompressedLayer,
  type Compression,
  type CompressOptions,
  compress,
  type RankRule,
} from "./train/compress.ts"
export { type DatasetOptions, isDataFile, type NamedSource, openDataset } from "./train/dataset.ts"
export { type DistillRunOptions, type DistillTuneOptions, distill } from "./train/distill.ts"
export { randomCheckpoint } from "./train/initialise.ts"
export { inputMoments, type Moments, type MomentsOptions, momentsOnDemand } from "./train/input_moments.ts"
export { type AdamwOptions, adamw, type Optimizer, type SgdOptions, sgd } from "./train/optimizer.ts"
export type { Preflight } from "./train/preflight.ts"
export type { TuneStep } from "./train/progress.ts"
export type { DataRecord, Dataset, Skipped } from "./train/records.ts"
export { SCHEDULES, type ScheduleName } from "./train/schedule.ts"
export { TEACHER_FILE, type TeachOptions, type TeachStep, teach } from "./train/teach.ts"
export {
  openTeacherCache,
  TEACH_MODES,
  type TeacherCache,
  type TeacherCacheInfo,
  type TeachMode,
} from "./train/teacher_cache.ts"
export { readTrainingFile, type TrainingState } from "./train/training_file.ts"
export { type Tuning, tune } from "./train/tune.ts"
export type { TuneOptions, TuneSettings } from "./train/tune_options.ts"
