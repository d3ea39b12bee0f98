import { add } from "../kernels/add.ts"
import { bitNorm, bitNorms } from "../kernels/bit_norm.ts"
import type { ExpertOptions } from "../kernels/expert_mix.ts"
import { linearEach, linear as product } from "../kernels/linear.ts"
import { type LowRankExperts, lowRankExperts } from "../kernels/low_rank_experts.ts"
import { rmsNorm } from "../kernels/rms_norm.ts"
import { rowNorms } from "../kernels/row_norms.ts"
import type { Run } from "../kernels/run.ts"
import { scale } from "../kernels/scale.ts"
import { scaleColumns } from "../kernels/scale_columns.ts"
import { type Matrix, rowSlice, sizeOf, type Tensor, view } from "../kernels/tensor.ts"

/** Two factors of a matrix `b a`. R is a multiple of 4: what a rank lacks is filled with zeros, which stay zeros. */
export interface Factors {
  /** `[R, C]` */
  readonly a: Matrix
  /** `[N, R]` */
  readonly b: Matrix
}

/**
 * What an adapter adds to one linear layer: `scale * b s a` (LoRA, Hu et al., arXiv:2106.09685, without s; LaMDA, Azizi et
 * al., arXiv:2406.12832, with it).
 */
export interface LinearAdapter extends Factors {
  /** `[R, R]` */
  readonly s?: Matrix | undefined
  readonly scale: number
  /** A fixed product that is added as well: minus what the factors began with, where that was taken from the weight. */
  readonly offset?: Factors | undefined
  /** In DoRA (Liu et al., arXiv:2402.09353) the adapted weight's rows get these norms. */
  readonly dora?: Dora | undefined
}

export interface Dora {
  /** `[N]` */
  readonly magnitude: Tensor
  /** `[N]`: the norms of the adapted rows. Absent while these change: then they are computed every time. */
  norm?: Tensor | undefined
}

/** What a linear layer is made of. */
export type LinearWeight =
  | { readonly kind: "dense" /** `[N, C]` */; readonly matrix: Matrix }
  | { readonly kind: "low-rank" /** `[N, R]` */; readonly u: Matrix /** `[R, C]` */; readonly v: Matrix }
  | ({ readonly kind: "ternary" } & BitWeight)
  | { readonly kind: "experts"; readonly experts: LowRankExperts; readonly options: ExpertOptions }

/** A ternary weight and the norm of what it is multiplied by. */
export interface BitWeight {
  /** `[N, C]`, ternary */
  readonly matrix: Matrix
  /** `[C]` */
  readonly norm: Tensor
  readonly eps: number
  /** Whether the normed activations are rounded to eight bits, as they were in training. */
  readonly actQuant: ActQuant
}

export const ACT_QUANTS = ["int8", "none"] as const
export type ActQuant = (typeof ACT_QUANTS)[number]

/** A linear layer: its weight, and the adapters that are on. */
export interface Linear {
  /** `[N, C]`, as one matrix would be. */
  readonly shape: readonly [rows: number, columns: number]
  readonly weight: LinearWeight
  adapters: readonly LinearAdapter[]
  /** Sees what goes into the layer. */
  observe?: ((run: Run, x: Tensor) => void) | undefined
}

/** Linear layers of one input. */
export interface LinearGroup {
  readonly layers: readonly Linear[]
  /** All their weights as one, the rows of each behind those of the one before. */
  readonly joined?: JoinedWeight | undefined
}

export type JoinedWeight =
  | { readonly kind: "dense"; readonly matrix: Matrix }
  | ({ readonly kind: "ternary" /** `[M, C]`, of M layers of one shape */; readonly norms: Tensor } & Omit<
      BitWeight,
      "norm"
    >)

/**
 * What each layer of a group gives. For a single token all are one product, where their weights lie together.
 *
 * @param x `[T, C]`
 * @returns `[T, N]` each
 */
export function linears(run: Run, x: Tensor, { layers, joined }: LinearGroup): Tensor[] {
  const ends = rowEnds(layers)
  const separate = run.tape || x.shape[0]! > 1 || layers.some((layer) => layer.observe) || !ends.every(canBegin)
  const y = joined && !separate ? together(run, x, joined) : undefined
  if (!y) return layers.map((layer) => linear(run, x, layer))
  const column = view(y, [sizeOf(y.shape), 1])
  return layers.map(({ shape: [N], weight, adapters }, i) => {
    const own = view(rowSlice(column, ends[i]! - N, ends[i]!), [1, N])
    return adapters.reduce((y, adapter) => adapt(run, x, y, weight, adapter), own)
  })
}

/** Where the rows of each layer end, all being behind one another. */
function rowEnds(layers: readonly Linear[]): number[] {
  return layers.map((_, i) => layers.slice(0, i + 1).reduce((sum, { shape: [N] }) => sum + N, 0))
}

/** Whether outputs from this row on can be bound on their own: at four bytes each, from 256 to 256. */
function canBegin(row: number): boolean {
  return row % 64 === 0
}

/** The outputs behind one another; undefined where there is no such product. */
function together(run: Run, x: Tensor, joined: JoinedWeight): Tensor | undefined {
  if (joined.kind === "dense") return product(run, x, joined.matrix)
  if (joined.actQuant === "none") return undefined
  return linearEach(run, bitNorms(run, x, joined.norms, joined), joined.matrix)
}

/**
 * `y = x W^T`, W being the layer's weight, and what the adapters add.
 *
 * @param x `[T, C]`
 * @returns `[T, N]`
 */
export function linear(run: Run, x: Tensor, layer: Linear): Tensor {
  layer.observe?.(run, x)
  return layer.adapters.reduce((y, adapter) => adapt(run, x, y, layer.weight, adapter), base(run, x, layer.weight))
}

function base(run: Run, x: Tensor, weight: LinearWeight): Tensor {
  if (weight.kind === "dense") return product(run, x, weight.matrix)
  if (weight.kind === "low-rank") return product(run, product(run, x, weight.v), weight.u)
  if (weight.kind === "experts") return lowRankExperts(run, x, weight.experts, weight.options)
  return product(run, bitInput(run, x, weight), weight.matrix)
}

/** What a ternary weight is multiplied by: x normed, and rounded to eight bits a row. */
export function bitInput(run: Run, x: Tensor, { norm, eps, actQuant }: BitWeight): Tensor {
  return actQuant === "int8" ? bitNorm(run, x, norm, { eps }) : rmsNorm(run, x, norm, { eps, offset: 0 })
}

function adapt(run: Run, x: Tensor, y: Tensor, weight: LinearWeight, adapter: LinearAdapter): Tensor {
  const { a, b, s, offset, dora } = adapter
  const u = product(run, x, a) // [T, R]
  const t = scale(run, s ? product(run, u, s) : u, adapter.scale)
  const adapted = add(run, y, product(run, t, b))
  if (dora) return scaleColumns(run, adapted, dora.magnitude, dora.norm ?? adaptedNorms(run, weight, adapter))
  if (!offset) return adapted
  const v = offset.a === a ? u : product(run, x, offset.a)
  return add(run, adapted, product(run, v, offset.b))
}

/** The norms of the rows of an adapted weight: `[N]`. */
export function adaptedNorms(run: Run, weight: LinearWeight, adapter: LinearAdapter): Tensor {
  if (weight.kind !== "dense") throw new TypeError(`dora: weight is ${weight.kind}, expected a dense one`)
  return rowNorms(run, weight.matrix, adapter, adapter.scale)
}
