import { crossEntropy } from "../kernels/cross_entropy.ts"
import type { Device } from "../kernels/device.ts"
import { type LikeliestState, likeliest, likeliestState } from "../kernels/likeliest.ts"
import { linear } from "../kernels/linear.ts"
import { type Plan, Run, ScratchPool } from "../kernels/run.ts"
import { type SampleState, sample, sampleState } from "../kernels/sample.ts"
import { softcap } from "../kernels/softcap.ts"
import { Tape, type Variable } from "../kernels/tape.ts"
import { type Matrix, rowSlice, type Tensor } from "../kernels/tensor.ts"
import { expectCacheFits } from "./cache.ts"
import type { Checkpoint } from "./checkpoint.ts"
import type { ModelConfig } from "./config.ts"
import { type ParameterCounts, parameterCounts } from "./cost.ts"
import type { DType } from "./dtype.ts"
import { Gemma } from "./gemma.ts"
import { Hgrn } from "./hgrn.ts"
import type { ActQuant, LinearAdapter } from "./linear.ts"
import { freeInputs, type Labelled, type LossOptions, lossInputs, pack, sequenceLoss, writeInputs } from "./loss.ts"
import type { ForwardOptions, Network, Passage } from "./network.ts"
import { differentiated, type Parameter, readValues, tensorsOf } from "./parameter.ts"
import { Prefix } from "./prefix.ts"
import { SavedPrefixes, type SavedPrefixOptions } from "./prefix_saved.ts"
import { embeddingScaleFor } from "./transformer_config.ts"
import { type UploadOptions, uploadWeights } from "./upload.ts"
import type { Uploaded } from "./uploaded.ts"

/** An array read back from the GPU, row-major. */
export interface HostArray {
  readonly data: Float32Array
  readonly shape: readonly number[]
}

export interface ModelOptions {
  /** Positions that the cache holds: the longest prompt and answer together. */
  readonly context: number
  /** Tokens of a prompt that go through the model at once. */
  readonly chunk: number
  /** What ternary layers do with activations: round them to eight bits, as in training, or not. */
  readonly actQuant?: ActQuant | undefined
}

export interface LossAndGradients {
  /** Mean negative log-likelihood of the targets, in nats. */
  readonly loss: number
  /** By the checkpoint's names, row-major, in f32. */
  readonly gradients: Map<string, Float32Array>
}

/** What a decode step does beside drawing a token. */
export interface DecodeExtras {
  /** Draw only what `Model.mask` allows. */
  readonly masked?: boolean
  /** Write log-probabilities into `Model.likeliest`. */
  readonly logprobs?: boolean
}

/** The most bytes of logits that are on the GPU at once. */
const LOGITS_BYTES = 16 * 2 ** 20

/** A model on a device with one sequence's cache. Calls must not overlap. */
export class Model {
  readonly device: Device
  readonly config: ModelConfig
  readonly context: number
  readonly chunk: number
  /** What a decode step reads and writes: the token, its position, the settings of sampling, the tokens drawn. */
  readonly state: SampleState
  /** `[ceil(V / 32)]`, u32: the tokens that a masked decode step may draw. */
  readonly mask: Tensor
  /** What a decode step tells of probabilities, if it is asked to. */
  readonly likeliest: LikeliestState
  readonly network: Network
  /** What can be trained, by the checkpoint's names. */
  readonly parameters: ReadonlyMap<string, Parameter>
  /** Weights that cannot, as only a form in few bits is there. */
  readonly packed: ReadonlyMap<string, Matrix>
  /** The types that the checkpoint has them in. */
  readonly stored: ReadonlyMap<string, DType>
  /** How many parameters it has. */
  readonly size: ParameterCounts
  /** Which tokens the cache has something of. */
  readonly prefix: Prefix
  readonly #passage: Passage
  #saved: SavedPrefixes | undefined
  readonly #ids: Tensor
  readonly #pool: ScratchPool
  #chunkPlan: Plan | undefined
  readonly #decodePlans = new Map<string, Plan>()

  /** Uploads a checkpoint and makes the model of it. */
  static async load(device: Device, checkpoint: Checkpoint, options: ModelOptions & UploadOptions): Promise<Model> {
    expectCacheFits(device, checkpoint.config, options.context, options.chunk)
    const uploaded = await uploadWeights(device, checkpoint, options)
    return new Model(device, checkpoint, uploaded, options)
  }

  constructor(device: Device, checkpoint: Checkpoint, uploaded: Uploaded, options: ModelOptions) {
    const { config, weights } = checkpoint
    const { context, chunk } = options
    this.device = device
    this.config = config
    this.context = context
    this.chunk = Math.min(chunk, context)
    this.network = createNetwork(device, checkpoint, uploaded, options)
    this.parameters = uploaded.parameters
    this.packed = uploaded.packed
    this.stored = uploaded.stored
    this.size = parameterCounts([...weights.values()].map(({ spec }) => spec))
    this.#pool = new ScratchPool(device)
    this.#ids = device.tensor("scratch", [this.chunk], "u32")
    this.state = sampleState(device, { V: config.vocabSize, context })
    this.mask = device.tensor("scratch", [Math.ceil(config.vocabSize / 32)], "u32")
    this.likeliest = likeliestState(device)
    this.#passage = this.network.inPieces(context, this.chunk)
    this.prefix = new Prefix(device, this.#passage, context)
  }

  /** Puts adapters on linear layers, by path; those that were on are off then. */
  adapt(adapters: ReadonlyMap<string, readonly LinearAdapter[]>): void {
    for (const [path, linear] of this.network.linears) linear.adapters = adapters.get(path) ?? []
    this.prefix.forget()
    this.#saved?.adapted()
    this.#disposePlans()
  }

  /** The dispatches of one decode step: the token in `state.ids` to its successor. */
  get decodePlan(): Plan {
    return this.decodePlanWith({})
  }

  /** The same for a step that does more; made once for each kind of step. */
  decodePlanWith({ masked = false, logprobs = false }: DecodeExtras): Plan {
    const kind = `${masked} ${logprobs}`
    const known = this.#decodePlans.get(kind)
    if (known) return known
    const run = new Run(this.device)
    const scores = logits(run, this.network, this.#forward(run, this.state.ids))
    sample(run, scores, this.state, masked ? this.mask : undefined)
    if (logprobs) likeliest(run, scores, this.state, this.likeliest)
    const plan = run.plan(this.#pool)
    this.#decodePlans.set(kind, plan)
    return plan
  }

  /** Must be called after weights were changed in place: no key or value in the cache or in files is theirs any more. */
  changed(): void {
    this.prefix.forget()
    this.#saved = undefined
  }

  /** Makes anew what is derived from weights, after they were changed. */
  derive(): void {
    this.changed()
    const run = new Run(this.device)
    this.network.derive(run)
    const plan = run.plan(this.#pool)
    plan.submit()
    plan.dispose()
  }

  /** Keeps prefixes of long prompts in a store, and looks for them there. */
  savePrefixes(options: SavedPrefixOptions): void {
    this.#saved = new SavedPrefixes(this, options)
  }

  /**
   * Has the cache hold as many of these tokens as are known from before: from the cache itself, copies of it, or files.
   *
   * @returns how many; those behind them are to be prefilled
   */
  async reuse(ids: readonly number[], signal?: AbortSignal): Promise<number> {
    await this.prefix.settled
    const here = this.prefix.restore(ids)
    return (await this.#saved?.load(ids, here, signal)) ?? here
  }

  /** Saves what the cache still has of these tokens, where prefixes are saved and it is worth it. */
  async savePrefix(ids: readonly number[]): Promise<void> {
    await this.#saved?.save(ids)
  }

  /** Fills the cache with tokens at positions `start`, `start + 1`, ... */
  async prefill(ids: readonly number[], start = 0, signal?: AbortSignal): Promise<void> {
    for (const { at, tokens } of this.#chunks(ids)) {
      signal?.throwIfAborted()
      this.#place(tokens, start + at)
      const full = tokens.length === this.chunk
      const plan = (full ? this.#chunkPlan : undefined) ?? this.#planChunk(tokens.length)
      plan.submit()
      this.prefix.append(start + at, tokens)
      if (full) this.#chunkPlan = plan
      else plan.dispose()
      await this.device.settle()
    }
  }

  /**
   * Logits of a sequence from position 0.
   *
   * @param last how many positions from the end; all without it
   * @returns `[last, V]`
   */
  async logits(ids: readonly number[], last = ids.length): Promise<HostArray> {
    const V = this.config.vocabSize
    const data = new Float32Array(last * V)
    const first = ids.length - last
    for await (const { from, x } of this.#hidden(ids)) {
      const skip = first - from
      if (skip >= x.shape[0]!) continue
      const values = await this.#read((run) => logits(run, this.network, x))
      data.set(values.subarray(Math.max(0, skip) * V), Math.max(0, -skip) * V)
    }
    return { data, shape: [last, V] }
  }

  /**
   * Negative log-likelihood in nats of each token after the first, given those before it.
   *
   * @returns `[T - 1]`
   */
  async losses(ids: readonly number[]): Promise<Float32Array> {
    const data = new Float32Array(ids.length)
    for await (const { from, x } of this.#hidden(ids)) {
      const T = x.shape[0]!
      const targets = this.device.tensor("scratch", [T], "u32")
      try {
        // The last token has no successor; what is computed for it is dropped.
        this.device.write(
          targets,
          Uint32Array.from({ length: T }, (_, i) => ids[from + i + 1] ?? 0),
        )
        const scores = (run: Run) => logits(run, this.network, x)
        data.set(await this.#read((run) => crossEntropy(run, scores(run), targets)), from)
      } finally {
        this.device.free(targets.storage.buffer!)
      }
    }
    return data.subarray(0, ids.length - 1)
  }

  /**
   * The residual stream: the scaled embedding, then what each layer gives, and last the final norm's output.
   *
   * @returns L + 2 arrays `[T, C]`
   */
  async hiddenStates(ids: readonly number[]): Promise<HostArray[]> {
    const C = this.config.hiddenSize
    const states = Array.from({ length: this.config.numLayers + 2 }, () => new Float32Array(ids.length * C))
    for (const { at, tokens } of this.#chunks(ids)) {
      this.#place(tokens, at)
      const run = new Run(this.device)
      const kept: Tensor[] = []
      const idsTensor = rowSlice(this.#ids, 0, tokens.length)
      const normed = this.#forward(run, idsTensor, { onState: (x) => kept.push(run.keep(x)) })
      kept.push(run.keep(normed))
      const plan = run.plan(this.#pool)
      try {
        plan.submit()
        this.prefix.append(at, tokens)
        for (const [i, x] of kept.entries()) states[i]!.set(new Float32Array(await this.device.read(x)), at * C)
      } finally {
        plan.dispose()
      }
    }
    return states.map((data) => ({ data, shape: [ids.length, C] }))
  }

  /**
   * The mean cross-entropy of some sequences' targets, and its gradients. The sequences lie packed behind one another and
   * do not see each other. Needs no cache: keys and values live as long as the step.
   *
   * @param wrt by the names under which the gradients are given
   */
  async lossAndGradients(
    sequences: readonly Labelled[],
    wrt: ReadonlyMap<string, Parameter>,
    options: LossOptions = {},
  ): Promise<LossAndGradients> {
    const { device, network } = this
    const packed = pack(sequences)
    const T = packed.ids.length
    const inputs = lossInputs(device, network, T)
    const dloss = device.tensor("scratch", [T])
    let plan: Plan | undefined
    try {
      writeInputs(device, inputs, packed)
      device.write(dloss, new Float32Array(T).fill(1 / packed.count))
      const tape = new Tape()
      const run = new Run(device, tape)
      const loss = run.keep(sequenceLoss(run, network, inputs, options))
      const variables = [...wrt.values()].map(differentiated)
      const gradients = tape.gradients(run, loss, dloss, variables) as Variable[]
      for (const gradient of gradients) for (const part of tensorsOf(gradient)) run.keep(part)
      plan = run.plan(this.#pool)
      plan.submit()
      const losses = new Float32Array(await device.read(loss))
      const read = new Map<string, Float32Array>()
      for (const [i, [name, { shape }]] of [...wrt].entries()) {
        read.set(name, await readValues(device, gradients[i]!, shape))
      }
      return { loss: losses.reduce((sum, value) => sum + value, 0) / packed.count, gradients: read }
    } finally {
      plan?.dispose()
      freeInputs(device, inputs)
      device.free(dloss.storage.buffer!)
    }
  }

  /** Gives its plans and scratch back; the buffers of weights and cache go with the device. */
  dispose(): void {
    this.#disposePlans()
    this.#pool.dispose()
  }

  #disposePlans(): void {
    for (const plan of [this.#chunkPlan, ...this.#decodePlans.values()]) plan?.dispose()
    this.#chunkPlan = undefined
    this.#decodePlans.clear()
  }

  /**
   * The final norm's output for a sequence from position 0, in groups of rows whose logits fit on the GPU: `[rows, C]`
   * from position `from` on, valid until the next is asked for.
   */
  async *#hidden(ids: readonly number[]): AsyncGenerator<{ from: number; x: Tensor }> {
    const most = Math.min(LOGITS_BYTES, this.device.maxBinding)
    const group = Math.max(1, Math.floor(most / (this.config.vocabSize * 4) / 16)) * 16 // 16 rows fill 256-byte blocks
    for (const { at, tokens } of this.#chunks(ids)) {
      this.#place(tokens, at)
      const run = new Run(this.device)
      const x = run.keep(this.#forward(run, rowSlice(this.#ids, 0, tokens.length)))
      const plan = run.plan(this.#pool)
      try {
        plan.submit()
        this.prefix.append(at, tokens)
        for (let row = 0; row < tokens.length; row += group) {
          yield { from: at + row, x: rowSlice(x, row, Math.min(tokens.length, row + group)) }
        }
      } finally {
        plan.dispose()
      }
    }
  }

  #forward(run: Run, ids: Tensor, options?: ForwardOptions): Tensor {
    return this.#passage.forward(run, ids, { cursor: this.state.cursor }, options)
  }

  /** Records, runs once and reads the result. */
  async #read(record: (run: Run) => Tensor): Promise<Float32Array> {
    const run = new Run(this.device)
    const result = run.keep(record(run))
    const plan = run.plan(this.#pool)
    try {
      plan.submit()
      return new Float32Array(await this.device.read(result))
    } finally {
      plan.dispose()
    }
  }

  #planChunk(T: number): Plan {
    const run = new Run(this.device)
    this.#forward(run, rowSlice(this.#ids, 0, T))
    return run.plan(this.#pool)
  }

  #place(tokens: readonly number[], position: number): void {
    this.prefix.reserve(position, position + tokens.length)
    this.device.write(this.#ids, Uint32Array.from(tokens))
    this.device.write(this.state.cursor, Uint32Array.of(position, 0))
  }

  *#chunks(ids: readonly number[]): Generator<{ at: number; tokens: readonly number[] }> {
    for (let at = 0; at < ids.length; at += this.chunk) yield { at, tokens: ids.slice(at, at + this.chunk) }
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

/** Logits `[T, V]` of normed hidden states `[T, C]`. */
function logits(run: Run, network: Network, hidden: Tensor): Tensor {
  const { x, weight, softcap: cap } = network.head(run, hidden)
  const product = linear(run, x, weight)
  return cap === null ? product : softcap(run, product, cap)
}
