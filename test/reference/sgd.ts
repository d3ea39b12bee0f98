export interface SgdState {
  readonly weight: Float64Array
  /** Undefined before the first step, which makes the gradient the velocity. */
  readonly velocity: Float64Array | undefined
}

/** One step of torch.optim.SGD, without dampening. */
export function sgd(
  { weight, velocity }: SgdState,
  gradient: ArrayLike<number>,
  { rate, momentum, nesterov, decay }: { rate: number; momentum: number; nesterov: boolean; decay: number },
): SgdState {
  const g = weight.map((w, i) => gradient[i]! + decay * w)
  const next = velocity ? velocity.map((u, i) => momentum * u + g[i]!) : g
  const step = nesterov ? g.map((d, i) => d + momentum * next[i]!) : next
  return { weight: weight.map((w, i) => w - rate * step[i]!), velocity: next }
}
