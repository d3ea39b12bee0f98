import { rmsNorm } from "./rms_norm.ts"
import { type Rotation, rope } from "./rope.ts"

export interface AttentionInputs extends Rotation {
  readonly G: number
  /** Weights of the heads' norms. */
  readonly norms?: { q: ArrayLike<number>; k: ArrayLike<number>; eps: number; offset: number } | undefined
}

/** Rows of H + 2G heads: heads of q and k normed and turned, `[T, H, D]` and `[T, G, D]`; those of v as they are. */
export function attentionInputs(
  x: ArrayLike<number>,
  { H, G, D, norms, ...rest }: AttentionInputs,
): Record<"q" | "k" | "v", Float64Array> {
  const row = (H + 2 * G) * D
  const T = x.length / row
  const heads = (first: number, count: number) =>
    Float64Array.from(
      { length: T * count * D },
      (_, i) => x[Math.floor(i / (count * D)) * row + first * D + (i % (count * D))]!,
    )
  const turned = (y: Float64Array, count: number, weight: ArrayLike<number> | undefined) =>
    rope(norms && weight ? rmsNorm(y, weight, norms) : y, { H: count, D, ...rest })
  return { q: turned(heads(0, H), H, norms?.q), k: turned(heads(H, G), G, norms?.k), v: heads(H + G, G) }
}
