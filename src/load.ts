import type { DownloadProgress } from "./hub/progress.ts"
import { autotune } from "./kernels/autotune.ts"
import { Device, type DeviceOptions } from "./kernels/device.ts"
import { isQuantized, type QuantizedDtype } from "./kernels/quantize.ts"
import { mergeInto } from "./merge.ts"
import { type Checkpoint, openCheckpoint } from "./model/checkpoint.ts"
import { type CacheDtype, cacheBytes, cacheElementBytes } from "./model/cost.ts"
import { Model, type ModelOptions } from "./model/model.ts"
import type { Packing } from "./model/packed.ts"
import { readAdapter } from "./model/peft.ts"
import { hashReads } from "./model/prefix_identity.ts"
import type { PrefixStore } from "./model/prefix_store.ts"
import { type Folder, filesFolder, type ModelLocation, readJson, readText } from "./model/source.ts"
import type { Store } from "./model/store.ts"
import { type UploadOptions, type UploadProgress, uploadBytes } from "./model/upload.ts"
import { packInto } from "./pack.ts"
import type { DeviceKind, Platform } from "./platform/platform.ts"
import { type Quantization, type QuantizeIntoOptions, quantizeInto } from "./quantize.ts"
import { internals, LanguageModel } from "./session.ts"
import { createTokenizer, type Tokenizer } from "./tokenizer/tokenizer.ts"

export type LoadProgress =
  | ({ readonly phase: "download" } & DownloadProgress)
  | ({ readonly phase: "upload" } & UploadProgress)

export interface OpenModelOptions {
  /** Branch, tag or commit of a Hub id; `main` by default. */
  readonly revision?: string
  /**
   * Opens gated and private models of the Hub, which alone gets it: not the storage that the Hub sends on to, and no other host.
   * In Node and Deno that of the environment by default.
   */
  readonly token?: string | undefined
  /** Keys of config.json to treat as absent, at one's own risk. */
  readonly ignoreKeys?: readonly string[]
  readonly onProgress?: (progress: LoadProgress) => void
  readonly signal?: AbortSignal
}

export interface LoadOptions extends OpenModelOptions {
  /** Which adapter to take; `auto` by default: hardware if there is any. */
  readonly device?: DeviceKind
  /** Positions to keep: the longest prompt and answer together. By default 4096, or the model's limit if less. */
  readonly context?: number
  /** Tokens of a prompt that go through the model at once; 128 by default. */
  readonly chunk?: number
  /** How many generations can be underway at once, each with a context of its own; 1 by default. The others wait. */
  readonly sequences?: number
  /**
   * How weights lie on the GPU. By default as they are stored; `f32` widens all, as training all of them needs; `bf16` and `f16`
   * convert matrices; `q8` and `q4` round them to eight and four bits in blocks of 32: 9 and 5 bits a weight with scales.
   */
  readonly dtype?: UploadOptions["dtype"]
  /** How keys and values are kept: `f32`, the default, or `q8`, rounded to eight bits a head with a scale each. */
  readonly cacheDtype?: CacheDtype | undefined
  /**
   * What ternary layers do with activations: `int8`, the default, rounds them to eight bits a row, as they were in training;
   * `none` leaves them.
   */
  readonly actQuant?: ModelOptions["actQuant"]
  /** Put the model on the same GPU device as this one, as a teacher is beside its student; to be disposed before it. */
  readonly beside?: LanguageModel
  /**
   * Where prefixes of long prompts are saved, and looked for: a folder, in browsers one of the origin's private file system.
   * Nothing is saved without it.
   */
  readonly prefixCache?: string | PrefixCacheOptions
  /** `default` asks for WebGPU's default limits instead of the adapter's, as the smallest devices have. */
  readonly limits?: DeviceOptions["limits"]
  /** Variants of kernels to use; on hardware those that are not given are timed, on software adapters they are known. */
  readonly tuning?: DeviceOptions["tuning"]
}

export interface PrefixCacheOptions {
  /** A folder, or a store of one's own. */
  readonly store: string | PrefixStore
  /** Bytes that it may take, 2 GiB by default; beyond them the prefixes go that were not used for longest. */
  readonly maxBytes?: number
  /** Learns why a file could not be used or written. The prompt is computed then, and nothing else happens. */
  readonly onSkip?: (reason: string) => void
}

/** Bytes on the GPU, and what they are for. */
export interface LoadBytes {
  readonly context: number
  readonly chunk: number
  readonly sequences: number
  readonly weights: number
  readonly cache: number
  readonly total: number
}

const MODEL_LIMIT = "the model's limit"
const DEFAULT_CONTEXT = 4096
const DEFAULT_CHUNK = 128
const MAX_SEQUENCES = 64
const DEFAULT_PREFIX_BYTES = 2 * 2 ** 30

export type Load = (location?: ModelLocation, options?: LoadOptions) => Promise<LanguageModel>
export type Open = (location?: ModelLocation, options?: OpenModelOptions) => Promise<Checkpoint>

export type Merge = (
  location: ModelLocation | undefined,
  adapters: readonly ModelLocation[],
  store: Store,
  options?: OpenModelOptions,
) => Promise<void>

export interface PackOptions extends OpenModelOptions, Pick<LoadOptions, "device" | "limits"> {
  /** `two-bit`, four weights to a byte, by default; `base3` holds 256 in 52 bytes. */
  readonly packing?: Packing | undefined
}

export type Pack = (location: ModelLocation, store: Store, options?: PackOptions) => Promise<void>

export interface QuantizeOptions
  extends OpenModelOptions,
    Pick<LoadOptions, "device" | "limits">,
    Pick<QuantizeIntoOptions, "moments" | "onWeight"> {
  readonly dtype: QuantizedDtype
}

export type Quantize = (
  location: ModelLocation | undefined,
  store: Store,
  options: QuantizeOptions,
) => Promise<Quantization>

/** What the functions that depend on a platform are. */
export interface Api {
  readonly load: Load
  readonly open: Open
  readonly merge: Merge
  readonly pack: Pack
  readonly quantize: Quantize
}

export function createApi(platform: Platform): Api {
  const open: Open = async (location, options = {}) =>
    openCheckpoint(await folderOf(platform, location, options, true), options)

  const load: Load = async (location, options = {}) => {
    const prefixes = prefixOptions(platform, options.prefixCache)
    const opened = await openCheckpoint(await folderOf(platform, location, options), options)
    const hashed = prefixes && hashReads(opened)
    const checkpoint = hashed?.checkpoint ?? opened
    try {
      const tokenizer = await readTokenizer(checkpoint.folder)
      const { context, chunk, sequences } = loadBytes(checkpoint, options)
      const device = await openDevice(platform, options)
      try {
        const onProgress = (progress: UploadProgress) => options.onProgress?.({ phase: "upload", ...progress })
        const { dtype, cacheDtype, actQuant, signal } = options
        const passages = { context, chunk, sequences, cacheDtype }
        const model = await Model.load(device, checkpoint, { ...passages, dtype, actQuant, onProgress, signal })
        if (hashed) {
          const form = [dtype ?? "stored", actQuant ?? "int8"]
          model.savePrefixes({ ...prefixes, model: [await hashed.digest(), ...form].join(" ") })
        }
        return new LanguageModel(model, {
          folder: checkpoint.folder,
          tokenizer,
          generationConfig: checkpoint.generation,
          openFolder: (location, options) => folderOf(platform, location, options),
        })
      } catch (error) {
        device.dispose()
        throw error
      }
    } finally {
      await checkpoint.close()
    }
  }

  const merge: Merge = async (location, adapters, store, options = {}) => {
    const checkpoint = await openCheckpoint(await folderOf(platform, location, options), options)
    try {
      const read = adapters.map(async (each) => {
        const folder = await folderOf(platform, each, { token: options.token })
        const adapter = await readAdapter(folder)
        await folder.close?.()
        return { adapter }
      })
      await mergeInto(store, checkpoint, await Promise.all(read))
    } finally {
      await checkpoint.close()
    }
  }

  const pack: Pack = (location, store, { packing = "two-bit", ...options } = {}) =>
    withDevice(platform, location, options, async (checkpoint, device) => {
      const onProgress = (progress: UploadProgress) => options.onProgress?.({ phase: "upload", ...progress })
      const passages = { context: 2, chunk: 1, sequences: 1 }
      const model = await Model.load(device, checkpoint, { ...passages, onProgress, signal: options.signal })
      await packInto(store, checkpoint, model, packing)
    })

  const quantize: Quantize = async (location, store, options) => {
    if (!isQuantized(options.dtype)) {
      throw new TypeError(`quantize: dtype is ${options.dtype}, expected q4 or q8`)
    }
    return withDevice(platform, location, options, (checkpoint, device) =>
      quantizeInto(store, checkpoint, device, options),
    )
  }
  return { load, open, merge, pack, quantize }
}

/** Does something with a checkpoint on a device that is there for nothing else. */
async function withDevice<T>(
  platform: Platform,
  location: ModelLocation | undefined,
  options: OpenModelOptions & Pick<LoadOptions, "device" | "limits">,
  use: (checkpoint: Checkpoint, device: Device) => Promise<T>,
): Promise<T> {
  const checkpoint = await openCheckpoint(await folderOf(platform, location, options), options)
  try {
    const device = await openDevice(platform, options)
    try {
      return await use(checkpoint, device)
    } finally {
      device.dispose()
    }
  } finally {
    await checkpoint.close()
  }
}

/** @throws {RangeError} for a location or a size that cannot be */
function prefixOptions(platform: Platform, prefixCache: LoadOptions["prefixCache"]) {
  if (prefixCache === undefined) return undefined
  const { store, maxBytes, onSkip } = typeof prefixCache === "string" ? { store: prefixCache } : prefixCache
  if (store === "") throw new RangeError(`load: prefixCache is "", expected a folder`)
  return {
    store: typeof store === "string" ? platform.openPrefixStore(store) : store,
    maxBytes: integer("prefixCache.maxBytes", maxBytes ?? DEFAULT_PREFIX_BYTES, 0, Number.MAX_SAFE_INTEGER),
    onSkip,
  }
}

/** A GPU device, with the variants of kernels that are the fastest on it. */
async function openDevice(platform: Platform, options: LoadOptions): Promise<Device> {
  const { beside, device, limits, tuning, signal } = options
  if (beside) return internals(beside).model.device.beside()
  const found = await platform.findAdapter(device ?? "auto")
  signal?.throwIfAborted()
  const opened = await Device.open(found, { limits, tuning })
  await autotune(opened)
  return opened
}

/**
 * What `load` will hold on the GPU, known from a checkpoint's headers: weights in their stored types, keys and values of
 * the context. The scratch memory of a step comes on top, and copies of ring caches to go back to (docs/prefix.md), which take as
 * much as the cache at most, or 64 MiB.
 *
 * @throws {RangeError} for a context beyond the model's limit
 */
export function loadBytes(
  { config, weights }: Checkpoint,
  options: Pick<LoadOptions, "context" | "chunk" | "sequences" | "dtype" | "cacheDtype"> = {},
): LoadBytes {
  const { context, chunk, sequences, dtype, cacheDtype = "f32" } = options
  const { maxPositions } = config
  const positions = integer("context", context ?? Math.min(DEFAULT_CONTEXT, maxPositions), 2, maxPositions, MODEL_LIMIT)
  const atOnce = integer("chunk", chunk ?? DEFAULT_CHUNK, 1, 65535)
  const stored = [...weights.values()].reduce((sum, weight) => sum + uploadBytes(weight, dtype), 0)
  const count = integer("sequences", sequences ?? 1, 1, MAX_SEQUENCES)
  const bytesPerElement = config.modelType === "hgrn_bit" ? 4 : cacheElementBytes(config, cacheDtype)
  const cache = cacheBytes(config, positions, { chunk: atOnce, bytesPerElement, sequences: count })
  return { context: positions, chunk: atOnce, sequences: count, weights: stored, cache, total: stored + cache }
}

async function folderOf(
  platform: Platform,
  location: ModelLocation | undefined,
  options: OpenModelOptions,
  headersOnly = false,
): Promise<Folder> {
  if (location !== undefined && typeof location !== "string" && !(location instanceof URL)) {
    return "open" in location ? location : filesFolder(location)
  }
  const { revision, token, signal, onProgress } = options
  const onDownload = (progress: DownloadProgress) => onProgress?.({ phase: "download", ...progress })
  return platform.openFolder(location === undefined ? undefined : String(location), {
    revision,
    token,
    signal,
    onDownload,
    headersOnly,
  })
}

/** The folder's tokenizer, if it has one: ids work without. */
async function readTokenizer(folder: Folder): Promise<Tokenizer | undefined> {
  const tokenizerJson = await readJson(folder, "tokenizer.json")
  if (tokenizerJson === undefined) return undefined
  const tokenizerConfig = await readJson(folder, "tokenizer_config.json")
  const chatTemplate = (await readText(folder, "chat_template.jinja")) ?? (await readText(folder, "chat_template.json"))
  return createTokenizer({ tokenizerJson, tokenizerConfig, chatTemplate })
}

function integer(name: string, value: number, least: number, most: number, why?: string): number {
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    throw new RangeError(
      `load: ${name} is ${value}, expected a whole number from ${least} to ${most}${why ? `, ${why}` : ""}`,
    )
  }
  return value
}
