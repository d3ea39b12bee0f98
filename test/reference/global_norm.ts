type Numbers = ArrayLike<number>

/** `sqrt(sum of x^2)` over all gradients, and `min(1, maxNorm / (norm + 1e-6))` as in torch.nn.utils.clip_grad_norm_. */
export function globalNorm(gradients: readonly Numbers[], maxNorm?: number): { norm: number; factor: number } {
  let squares = 0
  for (const gradient of gradients) {
    for (let i = 0; i < gradient.length; i++) squares += gradient[i]! ** 2
  }
  const norm = Math.sqrt(squares)
  return { norm, factor: maxNorm === undefined ? 1 : Math.min(1, maxNorm / (norm + 1e-6)) }
}
