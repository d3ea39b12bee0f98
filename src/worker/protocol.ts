import type {
  AdapterOptions,
  Checkpoint,
  DataRecord,
  Dataset,
  FinishReason,
  GenerationOptions,
  LanguageModel,
  LoadBytes,
  LoadOptions,
  LoadProgress,
  OpenModelOptions,
  PackOptions,
  PeftAdapter,
  Piece,
  Preflight,
  Prompt,
  Quantization,
  QuantizeOptions,
  Sampling,
  StoredFile,
  Timings,
  Tokenizer,
  TuneOptions,
  TuneSettings,
  TuneStep,
  Tuning,
} from "../api.ts"
import type { Method } from "./messages.ts"
import type { StoreMethods } from "./store_protocol.ts"
import type { WireError } from "./wire_errors.ts"

/** A thing of the other end, by its number there. */
export type Id = number

/** What a model's number stands for: as it is loaded, and as it is now. */
export interface ModelSnapshot extends ModelFacts {
  readonly tokenizer: TokenizerFacts | undefined
  readonly state: ModelState
}

/** What stays. */
export type ModelFacts = Pick<
  LanguageModel,
  "name" | "config" | "context" | "sequences" | "device" | "parameters" | "generationConfig"
>
export type TokenizerFacts = Pick<Tokenizer, TokenizerFact>
export type TokenizerFact = "bos" | "eos" | "pad" | "vocabSize" | "stripStart" | "hasChatTemplate"

/** What changes. */
export type ModelState = Pick<LanguageModel, "memory" | "adapters">

/** What of a model goes across as it is. */
export type ModelMethod =
  | "encode"
  | "logits"
  | "hiddenStates"
  | "score"
  | "predictions"
  | "attention"
  | "lossAndGradients"
  | "setAdapters"
  | "removeAdapter"
export type TokenizerMethod = Exclude<keyof Tokenizer, TokenizerFact>

/** A checkpoint's facts: its tensors stay where they are. */
export type CheckpointFacts = Pick<Checkpoint, "config" | "generation" | "files" | "metadata"> & {
  readonly name: string
}

/** Where a model or an adapter is. */
export type WireLocation =
  | { readonly kind: "embedded" }
  /** @param base what an address without a host begins with: a worker would take its script's */
  | { readonly kind: "name"; readonly name: string; readonly base: string | undefined }
  | WireFolderLocation

/** A folder at hand. */
export type WireFolderLocation =
  /** @param name what they are called, if not as the folder that they share */
  | { readonly kind: "files"; readonly files: readonly WireFile[]; readonly name?: string | undefined }
  | { readonly kind: "handle"; readonly handle: FileSystemDirectoryHandle }
  | ({ readonly kind: "page" } & WireFolder)

/** A file that a user picked, and its path among those that were picked with it. */
export interface WireFile {
  readonly path: string
  readonly blob: Blob
}

/** A folder of the page's own making. */
export interface WireFolder {
  readonly folder: Id
  readonly name: string
  readonly file: string | undefined
  readonly lists: boolean
}

/** Where files go: a folder by its name, in browsers of the origin's private file system; one that was picked; the page's own. */
export type WireStore =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "handle"; readonly handle: FileSystemDirectoryHandle }
  | ({ readonly kind: "page" } & WireFolder)

/** Where prefixes go. */
export type WirePrefixStore = Exclude<WireStore, { readonly kind: "handle" }>

/** What there is to learn. */
export type WireData = { readonly kind: "records"; readonly records: readonly DataRecord[] } | WireDataset

export type WireDataset =
  | { readonly kind: "files"; readonly files: readonly WireFile[] }
  | ({ readonly kind: "page"; readonly dataset: Id } & Pick<Dataset, "name" | "count" | "skipped" | "fingerprint">)

export type WireOpenOptions = Omit<OpenModelOptions, "onProgress" | "signal">
export type WireLoadOptions = Omit<LoadOptions, "onProgress" | "signal" | "beside" | "prefixCache"> & {
  readonly beside: Id | undefined
  readonly prefixCache: { readonly store: WirePrefixStore; readonly maxBytes: number | undefined } | undefined
}
export type WireGenerationOptions = Omit<GenerationOptions, "signal" | "draft"> & { readonly draft: Id | undefined }
export type WireTuneOptions = Omit<
  TuneOptions,
  "signal" | "optimizer" | "store" | "heldOut" | "reopen" | "onPrepare"
> & {
  readonly optimizer?: "adamw" | "sgd" | undefined
  readonly store: WireStore | undefined
  readonly heldOut: number | WireDataset | undefined
  readonly reopen: Id | undefined
}

/** What loading tells. */
export interface LoadEvent {
  readonly progress: LoadProgress
}

/** How far an answer is. */
export interface AnswerState {
  readonly timings: Timings
  readonly finishReason: FinishReason | undefined
}

/** How far a run is. */
export interface TuningState {
  readonly step: number
  readonly saved: number | undefined
  /** The points of the curve from one on; those before it are as they were. */
  readonly from: number
  readonly points: Tuning["curve"]
}

type Convert<Options> = Method<
  { readonly location: WireLocation; readonly store: WireStore; readonly options: Options },
  void,
  LoadEvent
>
type OfTuning<Result> = Method<{ readonly tuning: Id }, Result>

/** What the page asks of the engine. */
export type HostMethods = StoreMethods & {
  load: Method<
    { readonly location: WireLocation; readonly options: WireLoadOptions },
    { readonly model: Id; readonly snapshot: ModelSnapshot },
    LoadEvent
  >
  open: Method<
    { readonly location: WireLocation; readonly options: WireOpenOptions },
    { readonly checkpoint: Id; readonly facts: CheckpointFacts },
    LoadEvent
  >
  loadBytes: Method<{ readonly checkpoint: Id; readonly options: Parameters<LoadBytesOf>[1] }, LoadBytes>
  close: Method<{ readonly checkpoint: Id }>
  merge: Method<
    {
      readonly location: WireLocation
      readonly adapters: readonly WireLocation[]
      readonly store: WireStore
      readonly options: WireOpenOptions
    },
    void,
    LoadEvent
  >
  pack: Convert<Omit<PackOptions, "onProgress" | "signal">>
  quantize: Method<
    {
      readonly location: WireLocation
      readonly store: WireStore
      readonly options: Omit<QuantizeOptions, "onProgress" | "signal" | "onWeight" | "moments">
    },
    Quantization,
    LoadEvent | { readonly weight: readonly [name: string, done: number, of: number] }
  >
  ask: Method<{ readonly model: Id; readonly method: ModelMethod; readonly args: readonly unknown[] }, unknown>
  askTokenizer: Method<
    { readonly model: Id; readonly method: TokenizerMethod; readonly args: readonly unknown[] },
    unknown
  >
  dispatchesPerToken: Method<{ readonly model: Id }, number>
  loadAdapter: Method<
    { readonly model: Id; readonly location: WireLocation; readonly options: Omit<AdapterOptions, "signal"> },
    string
  >
  dispose: Method<{ readonly model: Id }>
  generate: Method<
    { readonly model: Id; readonly prompt: Prompt; readonly options: WireGenerationOptions },
    void,
    { readonly prompt: readonly number[]; readonly sampling: Sampling } & AnswerState,
    /** The last has no piece. */
    { readonly piece: Piece | undefined } & AnswerState
  >
  tune: Method<
    { readonly model: Id; readonly data: WireData; readonly options: WireTuneOptions },
    { readonly tuning: Id; readonly settings: TuneSettings }
  >
  prepare: Method<{ readonly tuning: Id }, Preflight, { readonly done: number; readonly of: number }>
  steps: Method<{ readonly tuning: Id }, void, { readonly done: number; readonly of: number }, TuneStep>
  save: OfTuning<void>
  adapter: OfTuning<PeftAdapter>
  disposeTuning: OfTuning<void>
  /** The bytes of a file that a store of the page's is to write. */
  chunks: Method<{ readonly chunks: Id }, void, never, Uint8Array<ArrayBuffer>>
}

type LoadBytesOf = typeof import("../api.ts").loadBytes

/** What the engine asks of the page: its own folders, stores and data. */
export type PageMethods = {
  openFile: Method<{ readonly folder: Id; readonly file: string }, number | undefined>
  slice: Method<
    { readonly folder: Id; readonly file: string; readonly start: number; readonly end: number },
    ArrayBuffer
  >
  list: Method<{ readonly folder: Id }, readonly string[]>
  closeFolder: Method<{ readonly folder: Id }>
  write: Method<{ readonly folder: Id; readonly file: string; readonly chunks: Id }>
  stored: Method<{ readonly folder: Id }, readonly StoredFile[]>
  touch: Method<{ readonly folder: Id; readonly file: string }>
  remove: Method<{ readonly folder: Id; readonly file: string }>
  readRecord: Method<
    { readonly dataset: Id; readonly index: number },
    { readonly record: DataRecord; readonly where: string }
  >
  reopen: Method<{ readonly reopen: Id }, Id>
}

/** Of a model: how it is now, that its device is lost, or why its prefixes could not be used or written. */
export type ModelNotice =
  | { readonly model: Id; readonly state: ModelState }
  | { readonly model: Id; readonly lost: WireError }
  | { readonly model: Id; readonly skipped: string }

/** What the engine tells without being asked, before the answer that it belongs to. */
export type Notice = ModelNotice | { readonly tuning: Id; readonly state: TuningState }
