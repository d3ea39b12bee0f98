import type { Device } from "../kernels/device.ts"
import { Run, ScratchPool } from "../kernels/run.ts"
import type { Matrix } from "../kernels/tensor.ts"
import { expectCacheFits } from "./cache.ts"
import type { Checkpoint } from "./checkpoint.ts"
import type { ModelConfig } from "./config.ts"
import { type ParameterCounts, parameterCounts } from "./cost.ts"
import { Decoder } from "./decoder.ts"
import type { DType } from "./dtype.ts"
import { Gemma } from "./gemma.ts"
import { Hgrn } from "./hgrn.ts"
import type { ActQuant, LinearAdapter } from "./linear.ts"
import type { Network, SequenceOptions } from "./network.ts"
import type { Parameter } from "./parameter.ts"
import type { SavedPrefixOptions } from "./prefix_saved.ts"
import { Seats } from "./seats.ts"
import { Sequence } from "./sequence.ts"
import { embeddingScaleFor } from "./transformer_config.ts"
import { type UploadOptions, uploadWeights } from "./upload.ts"
import type { Uploaded } from "./uploaded.ts"

export interface ModelOptions extends SequenceOptions {
  /** What ternary layers do with activations: round them to eight bits, as in training, or not. */
  readonly actQuant?: ActQuant | undefined
}

/** A model on a device, with what it keeps of some sequences. */
export class Model {
  readonly device: Device
  readonly config: ModelConfig
  /** Positions that each sequence holds: the longest prompt and answer together. */
  readonly context: number
  readonly network: Network
  /** What can be trained, by the checkpoint's names. */
  readonly parameters: ReadonlyMap<string, Parameter>
  /** Weights that cannot, as only a form in few bits is there. */
  readonly packed: ReadonlyMap<string, Matrix>
  /** The types that the checkpoint has them in. */
  readonly stored: ReadonlyMap<string, DType>
  /** How many parameters it has. */
  readonly size: ParameterCounts
  readonly pool: ScratchPool
  readonly sequences: readonly Sequence[]
  readonly seats: Seats
  readonly decoder: Decoder

  /** Uploads a checkpoint and makes the model of it. */
  static async load(device: Device, checkpoint: Checkpoint, options: ModelOptions & UploadOptions): Promise<Model> {
    expectCacheFits(device, checkpoint.config, options)
    const uploaded = await uploadWeights(device, checkpoint, options)
    return new Model(device, checkpoint, uploaded, options)
  }

  constructor(device: Device, checkpoint: Checkpoint, uploaded: Uploaded, options: ModelOptions) {
    const { config, weights } = checkpoint
    const { context } = options
    const chunk = Math.min(options.chunk, context)
    this.device = device
    this.config = config
    this.context = context
    this.network = createNetwork(device, checkpoint, uploaded, options)
    this.parameters = uploaded.parameters
    this.packed = uploaded.packed
    this.stored = uploaded.stored
    this.size = parameterCounts([...weights.values()].map(({ spec }) => spec))
    this.pool = new ScratchPool(device)
    const inlet = { ids: device.tensor("scratch", [chunk], "u32"), cursor: device.tensor("scratch", [2], "u32") }
    const sequences = this.network.inPieces({ ...options, chunk })
    const { network, pool } = this
    const parts = { device, network, pool, context }
    this.sequences = sequences.each.map((passage, i) => new Sequence({ ...parts, inlet }, passage, i))
    this.seats = new Seats(this.sequences)
    this.decoder = new Decoder({ ...parts, sequences, V: config.vocabSize })
  }

  /** Puts adapters on linear layers, by path; those that were on are off then. */
  adapt(adapters: ReadonlyMap<string, readonly LinearAdapter[]>): void {
    for (const [path, linear] of this.network.linears) linear.adapters = adapters.get(path) ?? []
    for (const sequence of this.sequences) sequence.adapted()
    this.decoder.dispose()
  }

  /** Must be called after weights were changed in place: no key or value in caches or in files is theirs any more. */
  changed(): void {
    for (const sequence of this.sequences) {
      sequence.prefix.forget()
      sequence.savePrefixes(undefined)
    }
  }

  /** Makes anew what is derived from weights, after they were changed. */
  derive(): void {
    this.changed()
    const run = new Run(this.device)
    this.network.derive(run)
    const plan = run.plan(this.pool)
    plan.submit()
    plan.dispose()
  }

  /** Keeps prefixes of long prompts in a store, and looks for them there. */
  savePrefixes(options: SavedPrefixOptions): void {
    for (const sequence of this.sequences) sequence.savePrefixes(options)
  }

  /** Gives its plans and scratch back; the buffers of weights and caches go with the device. */
  dispose(): void {
    for (const sequence of this.sequences) sequence.dispose()
    this.decoder.dispose()
    this.pool.dispose()
  }
}

function createNetwork(
  device: Device,
  { config, weights }: Checkpoint,
  uploaded: Uploaded,
  { actQuant = "int8" }: ModelOptions,
): Network {
  if (config.modelType === "hgrn_bit") return new Hgrn(device, config, uploaded, actQuant)
  const { info, blocks } = weights.get("embedding")!
  const embeddingScale = embeddingScaleFor(config, blocks?.from ?? info.dtype)
  return new Gemma(device, { ...config, embeddingScale }, uploaded)
}
