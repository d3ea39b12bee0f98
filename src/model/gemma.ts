import { add } from "../kernels/add.ts"
import { attend, cacheWrite, type KvCache } from "../kernels/attend.ts"
import type { Device } from "../kernels/device.ts"
import { embed } from "../kernels/embed.ts"
import { glu } from "../kernels/glu.ts"
import type { Head } from "../kernels/linear_distill.ts"
import { recompute } from "../kernels/recompute.ts"
import { rmsNorm } from "../kernels/rms_norm.ts"
import { type RopeTables, rope, ropeTables } from "../kernels/rope.ts"
import type { Run } from "../kernels/run.ts"
import { type Matrix, type Tensor, unbacked, view } from "../kernels/tensor.ts"
import { createCaches } from "./cache.ts"
import { type Linear, linear } from "./linear.ts"
import type { ForwardOptions, Network, Passage, Place } from "./network.ts"
import type { LayerConfig, TransformerConfig } from "./transformer_config.ts"
import type { Uploaded } from "./upload.ts"

/** Weights of one layer, by the fields of weights.ts. */
interface BlockWeights {
  readonly preAttention: Tensor
  readonly attention: {
    readonly q: Linear
    readonly k: Linear
    readonly v: Linear
    readonly o: Linear
    readonly qNorm?: Tensor
    readonly kNorm?: Tensor
  }
  readonly postAttention?: Tensor
  readonly preMlp: Tensor
  readonly mlp: { readonly gate: Linear; readonly up: Linear; readonly down: Linear }
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
  readonly rope: RopeTables
}

/** `[T, C]` to `[T, C]`. */
function attention(
  run: Run,
  config: TransformerConfig,
  layer: LayerConfig,
  w: BlockWeights["attention"],
  x: Tensor,
  { cache, rope: tables, cursor, starts }: LayerState,
): Tensor {
  const T = x.shape[0]!
  const { numHeads: H, numKvHeads: G, headDim: D } = config
  const norm = (y: Tensor, weight?: Tensor) =>
    weight ? rmsNorm(run, view(y, [y.shape[0]! * (y.shape[1]! / D), D]), weight, normOptions(config)) : y
  const rotate = (y: Tensor, heads: number) => rope(run, view(y, [T, heads, D]), tables, cursor)
  const q = rotate(norm(linear(run, x, w.q), w.qNorm), H)
  const k = rotate(norm(linear(run, x, w.k), w.kNorm), G)
  const v = view(linear(run, x, w.v), [T, G, D])
  if (cache) cacheWrite(run, k, v, cache, cursor)
  const scores = { scale: config.attentionScale, softcap: config.attentionSoftcap ?? 0 }
  const options = { window: layer.window ?? 0, ...scores, starts }
  const a = attend(run, q, cache ?? { k, v }, cursor, options) // [T, H, D]
  return linear(run, view(a, [T, H * D]), w.o)
}

/** `[T, C]` to `[T, C]`. */
function mlp(run: Run, config: TransformerConfig, w: BlockWeights["mlp"], x: Tensor): Tensor {
  const h = glu(run, linear(run, x, w.gate), linear(run, x, w.up), config.activation) // [T, F]
  return linear(run, h, w.down)
}

/**
 * One decoder layer, `[T, C]` to `[T, C]`. Prefill and decode both run this; only T differs. Gemma 2 and 3 norm what
 * leaves each half as well as what enters it.
 */
function block(
  run: Run,
  config: TransformerConfig,
  layer: LayerConfig,
  w: BlockWeights,
  x: Tensor,
  state: LayerState,
): Tensor {
  const norm = (y: Tensor, weight?: Tensor) => (weight ? rmsNorm(run, y, weight, normOptions(config)) : y)
  const a = attention(run, config, layer, w.attention, norm(x, w.preAttention), state)
  const h = add(run, x, norm(a, w.postAttention))
  const m = mlp(run, config, w.mlp, norm(h, w.preMlp))
  return add(run, h, norm(m, w.postMlp))
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

  inPieces(context: number, chunk: number): Passage {
    const caches = createCaches(this.#device, this.#config, context, chunk)
    return this.#passage(ropesOf(this.#device, this.#config, context), caches)
  }

  whole(T: number, empty = false): Passage {
    return this.#passage(ropesOf(this.#device, this.#config, T, empty))
  }

  #passage(ropes: readonly RopeTables[], caches: readonly KvCache[] = []): Passage {
    const tables = [...new Set(ropes)].flatMap(({ coarse, fine }) => [coarse, fine])
    const held = [...tables, ...caches.flatMap(({ k, v }) => [k, v])]
    return {
      forward: (run, ids, place, options) => {
        const states = ropes.map((rope, i) => ({ rope, cache: caches[i], ...place }))
        return forward(run, this.#config, this.#weights, ids, states, options)
      },
      byteLength: held.reduce((sum, { storage }) => sum + storage.byteLength, 0),
      free: () => {
        for (const { storage } of held) this.#device.free(storage.buffer!)
      },
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
    return {
      preAttention: tensor("preAttention"),
      attention: {
        q: linear("attention.q"),
        k: linear("attention.k"),
        v: linear("attention.v"),
        o: linear("attention.o"),
        ...(qkNorm && { qNorm: tensor("attention.qNorm"), kNorm: tensor("attention.kNorm") }),
      },
      preMlp: tensor("preMlp"),
      mlp: { gate: linear("mlp.gate"), up: linear("mlp.up"), down: linear("mlp.down") },
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

/** Rotary tables of each layer; layers with the same settings share theirs. */
function ropesOf(device: Device, config: TransformerConfig, positions: number, empty = false): RopeTables[] {
  const tables = new Map<string, RopeTables>()
  return config.layers.map(({ rope }) => {
    const key = `${rope.theta} ${rope.factor}`
    const shape = (count: number) => [count, config.headDim / 2, 2]
    const table =
      tables.get(key) ??
      (empty
        ? { coarse: unbacked(shape(Math.ceil(positions / 256))), fine: unbacked(shape(256)) }
        : ropeTables(device, { headDim: config.headDim, ...rope }, positions))
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
  { onState = () => {}, recompute: again = false }: ForwardOptions = {},
): Tensor {
  let x = embed(run, ids, weights.embedding, config.embeddingScale)
  onState(x)
  weights.layers.forEach((w, i) => {
    const layer = (x: Tensor) => block(run, config, config.layers[i]!, w, x, states[i]!)
    x = again ? recompute(run, x, layer) : layer(x)
    onState(x)
  })
  return rmsNorm(run, x, weights.norm, normOptions(config))
}

function normOptions({ eps, normOffset }: TransformerConfig) {
  return { eps, offset: normOffset }
}
