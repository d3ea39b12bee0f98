import { add } from "../kernels/add.ts"
import { attend, cacheWrite, type KvCache } from "../kernels/attend.ts"
import { embed } from "../kernels/embed.ts"
import { glu } from "../kernels/glu.ts"
import { linear as product } from "../kernels/linear.ts"
import { recompute } from "../kernels/recompute.ts"
import { rmsNorm } from "../kernels/rms_norm.ts"
import { type RopeTables, rope } from "../kernels/rope.ts"
import type { Run } from "../kernels/run.ts"
import { softcap } from "../kernels/softcap.ts"
import { type Matrix, type Tensor, view } from "../kernels/tensor.ts"
import type { LayerConfig, ModelConfig } from "./config.ts"
import { type Linear, linear } from "./linear.ts"

/** Weights of one layer, by the fields of weights.ts. */
export interface BlockWeights {
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

export interface ModelWeights {
  readonly embedding: Matrix
  readonly layers: readonly BlockWeights[]
  readonly norm: Tensor
  /** Absent where the head is tied to the embedding. */
  readonly head?: Matrix
}

/** What a layer knows beyond its weights: where it is in the sequence and what came before. */
export interface LayerState {
  /** Absent where the whole sequence goes through at once, as in training. */
  readonly cache?: KvCache
  readonly rope: RopeTables
  /** `[2]`, u32: the position of the first token, and a count that layers do not use. */
  readonly cursor: Tensor
  /** `[T]`, u32: where each token's own sequence begins, if several lie packed behind one another. */
  readonly starts?: Tensor
}

/** `[T, C]` to `[T, C]`. */
function attention(
  run: Run,
  config: ModelConfig,
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
function mlp(run: Run, config: ModelConfig, w: BlockWeights["mlp"], x: Tensor): Tensor {
  const h = glu(run, linear(run, x, w.gate), linear(run, x, w.up), config.activation) // [T, F]
  return linear(run, h, w.down)
}

/**
 * One decoder layer, `[T, C]` to `[T, C]`. Prefill and decode both run this; only T differs. Gemma 2 and 3 norm what
 * leaves each half as well as what enters it.
 */
export function block(
  run: Run,
  config: ModelConfig,
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

export interface ForwardOptions {
  /** Sees the residual stream: the scaled embedding, then the output of each layer. */
  readonly onState?: (x: Tensor) => void
  /** On a tape: keep only what goes from layer to layer, and record the rest again for the backward pass. */
  readonly recompute?: boolean
}

/**
 * The model up to its head: `[T]` ids to `[T, C]` after the final norm.
 *
 * @param states one per layer
 */
export function forward(
  run: Run,
  config: ModelConfig,
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

/** Logits `[T, V]` of normed hidden states `[T, C]`. */
export function head(run: Run, config: ModelConfig, weights: ModelWeights, x: Tensor): Tensor {
  const logits = product(run, x, weights.head ?? weights.embedding)
  return config.finalSoftcap === null ? logits : softcap(run, logits, config.finalSoftcap)
}

function normOptions({ eps, normOffset }: ModelConfig) {
  return { eps, offset: normOffset }
}
