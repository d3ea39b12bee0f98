import { addNorm } from "../kernels/add_norm.ts"
import type { KvCache } from "../kernels/attend.ts"
import { attentionInputs, type Projections } from "../kernels/attention_inputs.ts"
import type { Device } from "../kernels/device.ts"
import { embed } from "../kernels/embed.ts"
import type { Head } from "../kernels/linear_distill.ts"
import { ropeTableShape, ropeTables } from "../kernels/rope.ts"
import type { Run } from "../kernels/run.ts"
import { byteSize, type Matrix, type Tensor, unbacked } from "../kernels/tensor.ts"
import { attendedLinear } from "./attended_linear.ts"
import { cacheOf, createCaches, firstCaches, keptOf } from "./cache.ts"
import { gatedLinear, joinedLinear } from "./joined_linear.ts"
import { type Stream, throughLayers } from "./layers.ts"
import { type Linear, type LinearGroup, linear } from "./linear.ts"
import type {
  AttentionInputs,
  ForwardOptions,
  Network,
  Passage,
  Place,
  SequenceOptions,
  Sequences,
  WholePassage,
} from "./network.ts"
import type { LayerConfig, TransformerConfig } from "./transformer_config.ts"
import type { Uploaded } from "./uploaded.ts"

/** Weights of one layer, by the fields of weights.ts. */
interface BlockWeights {
  readonly preAttention: Tensor
  readonly attention: {
    /** q, k and v */
    readonly projections: LinearGroup
    readonly o: Linear
    readonly qNorm?: Tensor
    readonly kNorm?: Tensor
  }
  readonly postAttention?: Tensor
  readonly preMlp: Tensor
  readonly mlp: { /** gate and up */ readonly projections: LinearGroup; readonly down: Linear }
  readonly postMlp?: Tensor
}

interface ModelWeights {
  readonly embedding: Matrix
  readonly layers: readonly BlockWeights[]
  readonly norm: Tensor
  /** Absent where the head is tied to the embedding. */
  readonly head?: Matrix
}

/** What a layer knows beyond its weights: where it is in the sequence and what came before. */
interface LayerState extends Place {
  /** Absent where the whole sequence goes through at once, as in training. */
  readonly cache?: KvCache | undefined
  /** Its rotary table. */
  readonly table: Tensor
  readonly onAttention?: ((inputs: AttentionInputs) => void) | undefined
}

/** `[T, C]` to `[T, C]`. */
function attention(
  run: Run,
  config: TransformerConfig,
  { window }: LayerConfig,
  { projections, o, qNorm, kNorm }: BlockWeights["attention"],
  x: Tensor,
  { cursor, starts, onAttention, ...state }: LayerState,
): Tensor {
  const { numHeads: H, numKvHeads: G, headDim: D } = config
  const norms = qNorm && kNorm && { q: qNorm, k: kNorm, ...normOptions(config) }
  const heads = joinedLinear(run, x, projections) as Projections
  const { q, cache } = attentionInputs(run, heads, { H, G, D, norms, cursor, ...state })
  const scores = { window: window ?? 0, scale: config.attentionScale, softcap: config.attentionSoftcap ?? 0 }
  onAttention?.({ q, cache, cursor, ...scores })
  return attendedLinear(run, q, cache, cursor, { ...scores, starts }, o)
}

/** `[T, C]` to `[T, C]`. */
function mlp(
  run: Run,
  { activation }: TransformerConfig,
  { projections, down }: BlockWeights["mlp"],
  x: Tensor,
): Tensor {
  return linear(run, gatedLinear(run, x, projections, activation), down)
}

/**
 * One decoder layer. Prefill and decode both run this; only T differs. Gemma 2 and 3 norm what leaves each half as well as
 * what enters it.
 *
 * @param next the norm that follows
 */
function block(
  run: Run,
  config: TransformerConfig,
  layer: LayerConfig,
  w: BlockWeights,
  { h: x, u }: Stream,
  next: Tensor,
  state: LayerState,
): Stream {
  const a = attention(run, config, layer, w.attention, u, state)
  const { h, u: v } = addNorm(run, x, a, { post: w.postAttention, next: w.preMlp }, normOptions(config))
  const m = mlp(run, config, w.mlp, v)
  return addNorm(run, h, m, { post: w.postMlp, next }, normOptions(config))
}

/** Gemma 1 to 3 and Llama: attention and gated MLPs. */
export class Gemma implements Network {
  readonly linears: ReadonlyMap<string, Linear>
  readonly #device: Device
  readonly #config: TransformerConfig
  readonly #weights: ModelWeights

  /** @param config with the embedding's scale that goes with the checkpoint's type */
  constructor(device: Device, config: TransformerConfig, uploaded: Uploaded) {
    this.#device = device
    this.#config = config
    this.#weights = weightsOf(config, uploaded)
    this.linears = uploaded.linears
  }

  inPieces(options: SequenceOptions): Sequences {
    const tables = tablesOf(this.#device, this.#config, options.context)
    const caches = createCaches(this.#device, this.#config, options)
    const each = Array.from({ length: options.sequences }, (_, i) => {
      const own = caches.map((cache) => cacheOf(cache, i))
      return { ...this.#passage(tables, own), kept: keptOf(this.#config, own) }
    })
    return {
      each,
      together: (run, ids, cursor) => {
        const n = ids.shape[0]!
        if (n === 1) return each[0]!.forward(run, ids, { cursor })
        return this.#passage(
          tables,
          caches.map((cache) => firstCaches(cache, n)),
        ).forward(run, ids, { cursor })
      },
    }
  }

  whole(T: number, empty = false): WholePassage {
    const tables = tablesOf(this.#device, this.#config, T, empty)
    const free = () => {
      for (const { storage } of new Set(tables)) this.#device.free(storage.buffer!)
    }
    return { ...this.#passage(tables), free }
  }

  #passage(tables: readonly Tensor[], caches: readonly KvCache[] = []): Passage {
    const held = [...new Set(tables), ...caches.flatMap(({ k, v }) => [k, v])]
    return {
      forward: (run, ids, place, options) => {
        const see = options?.onAttention
        const states = tables.map((table, i) => {
          const onAttention = see && ((inputs: AttentionInputs) => see(i, inputs))
          return { table, cache: caches[i], onAttention, ...place }
        })
        return forward(run, this.#config, this.#weights, ids, states, options)
      },
      byteLength: held.reduce((sum, { shape, dtype }) => sum + byteSize(shape, dtype), 0),
    }
  }

  head(_run: Run, x: Tensor): Head {
    const { head, embedding } = this.#weights
    return { x, weight: head ?? embedding, softcap: this.#config.finalSoftcap }
  }

  derive(): void {}
}

function weightsOf(
  { layers, qkNorm, sandwichNorms, tiedHead, experts }: TransformerConfig,
  uploaded: Uploaded,
): ModelWeights {
  const block = (_: unknown, i: number): BlockWeights => {
    const tensor = (field: string) => uploaded.tensor(`layers.${i}.${field}`)
    const linear = (field: string) => uploaded.linear(`layers.${i}.${field}`, experts)
    const group = (fields: readonly string[]) =>
      uploaded.group(
        fields.map((field) => `layers.${i}.${field}`),
        fields.map(linear),
      )
    return {
      preAttention: tensor("preAttention"),
      attention: {
        projections: group(["attention.q", "attention.k", "attention.v"]),
        o: linear("attention.o"),
        ...(qkNorm && { qNorm: tensor("attention.qNorm"), kNorm: tensor("attention.kNorm") }),
      },
      preMlp: tensor("preMlp"),
      mlp: { projections: group(["mlp.gate", "mlp.up"]), down: linear("mlp.down") },
      ...(sandwichNorms && { postAttention: tensor("postAttention"), postMlp: tensor("postMlp") }),
    }
  }
  return {
    embedding: uploaded.matrix("embedding"),
    layers: layers.map(block),
    norm: uploaded.tensor("norm"),
    ...(!tiedHead && { head: uploaded.matrix("head") }),
  }
}

/** The rotary table of each layer; layers with the same settings share theirs. */
function tablesOf(device: Device, { layers, headDim }: TransformerConfig, positions: number, empty = false): Tensor[] {
  const tables = new Map<string, Tensor>()
  return layers.map(({ rope }) => {
    const key = `${rope.theta} ${rope.factor}`
    const fresh = () =>
      empty ? unbacked(ropeTableShape(headDim, positions)) : ropeTables(device, { headDim, ...rope }, positions)
    const table = tables.get(key) ?? fresh()
    tables.set(key, table)
    return table
  })
}

/**
 * The model up to its head: `[T]` ids to `[T, C]` after the final norm.
 *
 * @param states one per layer
 */
function forward(
  run: Run,
  config: TransformerConfig,
  weights: ModelWeights,
  ids: Tensor,
  states: readonly LayerState[],
  options?: ForwardOptions,
): Tensor {
  const x = embed(run, ids, weights.embedding, config.embeddingScale)
  const { layers } = weights
  const norms = { weights: [...layers.map(({ preAttention }) => preAttention), weights.norm], ...normOptions(config) }
  const layer = (i: number, stream: Stream, next: Tensor) =>
    block(run, config, config.layers[i]!, layers[i]!, stream, next, states[i]!)
  return throughLayers(run, x, norms, layer, options)
}

function normOptions({ eps, normOffset }: TransformerConfig) {
  return { eps, offset: normOffset }
}
