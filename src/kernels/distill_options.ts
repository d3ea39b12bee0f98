/** What a student is held to. P is the teacher's distribution, Q the student's, both at the temperature. */
export interface DistillOptions {
  /** KL(P || Q), KL(Q || P), or their mixture: beta KL(P || M) + (1 - beta) KL(Q || M) with M = beta P + (1 - beta) Q. */
  readonly kind: "forward_kl" | "reverse_kl" | "jsd"
  /** Of "jsd": 0 stands for the forward KL, 1 for the reverse (as in generalised knowledge distillation, arXiv:2306.13649). */
  readonly beta?: number
  /** What both sides' logits are divided by. */
  readonly temperature?: number
  /** The loss is `(1 - mix) * cross-entropy + mix * divergence`; the cross-entropy is that of temperature 1. */
  readonly mix?: number
  /**
   * Multiply the divergence by the square of the temperature, so that its gradient keeps its size (Hinton et al.,
   * arXiv:1503.02531, section 2).
   */
  readonly hinton?: boolean
}

/** A divergence as the kernels take it. */
export interface Divergence {
  readonly kind: DistillOptions["kind"]
  readonly beta: number
  readonly temperature: number
  readonly mix: number
  /** What the divergence counts in the loss. */
  readonly scale: number
}

/**
 * The options with their defaults: beta 0.5, temperature 1, the divergence alone, times the temperature's square.
 *
 * @throws {RangeError} when one has no meaning
 */
export function divergenceOf(op: string, options: DistillOptions): Divergence {
  const { beta = 0.5, temperature = 1, mix = 1, hinton = true } = options
  if (!(temperature > 0 && temperature < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`${op}: temperature is ${temperature}, expected a number above 0`)
  }
  expectShare(op, "beta", beta)
  expectShare(op, "mix", mix)
  const ends = { 0: "forward_kl", 1: "reverse_kl" } as const
  const kind = options.kind === "jsd" && (beta === 0 || beta === 1) ? ends[beta] : options.kind
  return { kind, beta, temperature, mix, scale: mix * (hinton ? temperature ** 2 : 1) }
}

function expectShare(op: string, name: string, x: number): void {
  if (!(x >= 0 && x <= 1)) throw new RangeError(`${op}: ${name} is ${x}, expected 0 to 1`)
}
