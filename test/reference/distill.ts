type Numbers = ArrayLike<number>

export const IGNORED = 2 ** 32 - 1

export interface Distill {
  readonly kind: "forward_kl" | "reverse_kl" | "jsd"
  readonly beta?: number
  readonly temperature?: number
  readonly mix?: number
  readonly hinton?: boolean
}

/** What a teacher thinks of some tokens: ids and probs `[T, K]`, probs 0 where a slot is unused. */
export interface Sparse {
  readonly ids: Numbers
  readonly probs: Numbers
}

/** `(1 - mix) CE + mix D(softmax(teacher / temperature), softmax(student / temperature))` of logits `[T, V]`. */
export function distill(
  student: Numbers,
  teacher: Numbers,
  targets: Numbers,
  V: number,
  options: Distill,
): Float64Array {
  const { temperature = 1 } = options
  return Float64Array.from(targets, (target, t) => {
    if (target === IGNORED) return 0
    const p = logSoftmax(row(teacher, t, V), temperature)
    const q = logSoftmax(row(student, t, V), temperature)
    return mixed(row(student, t, V), target, divergence(p, q, options), options)
  })
}

/**
 * The same with a teacher who is known at some tokens: "full" is the cross-entropy of the teacher renormalised over them,
 * "support" compares both renormalised over them, "tail" adds a bucket for the other tokens to both.
 */
export function distillSparse(
  student: Numbers,
  { ids, probs }: Sparse,
  targets: Numbers,
  V: number,
  options: Distill & { readonly over: "full" | "support" | "tail" },
): Float64Array {
  const { temperature = 1, over } = options
  const K = ids.length / targets.length
  return Float64Array.from(targets, (target, t) => {
    const used = Array.from({ length: K }, (_, k) => t * K + k).filter((i) => probs[i]! > 0)
    if (target === IGNORED || (used.length === 0 && over !== "tail")) return 0
    const q = logSoftmax(row(student, t, V), temperature)
    const p = used.map((i) => probs[i]!)
    const known = used.map((i) => q[ids[i]!]!)
    const value = () => {
      if (over === "full") return -sum(p.map((p, k) => (p / sum(used.map((i) => probs[i]!))) * known[k]!))
      if (over === "support")
        return divergence(
          p.map((x) => Math.log(x / sum(p))),
          logSoftmax(known, 1),
          options,
        )
      const others = new Set(used.map((i) => ids[i]!))
      const rest = sum(q.map((x, v) => (others.has(v) ? 0 : Math.exp(x))))
      return divergence([...p, 1 - sum(p)].map(Math.log), [...known, Math.log(rest)], options)
    }
    return mixed(row(student, t, V), target, value(), options)
  })
}

/** Softmax of a row. */
export function softmax(logits: Numbers, temperature: number): Float64Array {
  return logSoftmax(logits, temperature).map(Math.exp)
}

/** A row's likeliest tokens, the lower id among equals. */
export function topK(logits: Numbers, k: number): number[] {
  const order = Array.from({ length: logits.length }, (_, v) => v)
  return order.sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, k)
}

/** Row t of `[T, V]`. */
export function row(all: Numbers, t: number, V: number): Float64Array {
  return new Float64Array(V).map((_, v) => all[t * V + v]!)
}

function mixed(student: Numbers, target: number, value: number, options: Distill): number {
  const { temperature = 1, mix = 1, hinton = true } = options
  const scaled = hinton ? value * temperature ** 2 : value
  return mix === 1 ? scaled : mix * scaled - (1 - mix) * logSoftmax(student, 1)[target]!
}

/** Of log-probabilities. */
function divergence(p: Numbers, q: Numbers, { kind, beta = 0.5 }: Distill): number {
  if (kind === "forward_kl" || (kind === "jsd" && beta === 0)) return kl(p, q)
  if (kind === "reverse_kl" || beta === 1) return kl(q, p)
  const m = Float64Array.from(p, (x, v) => Math.log(beta * Math.exp(x) + (1 - beta) * Math.exp(q[v]!)))
  return beta * kl(p, m) + (1 - beta) * kl(q, m)
}

function kl(p: Numbers, q: Numbers): number {
  return sum(Array.from(p, (x, v) => (Math.exp(x) === 0 ? 0 : Math.exp(x) * (x - q[v]!))))
}

function logSoftmax(logits: Numbers, temperature: number): Float64Array {
  const a = Float64Array.from(logits, (x) => x / temperature)
  const highest = a.reduce((x, y) => Math.max(x, y))
  const log = highest + Math.log(sum(a.map((x) => Math.exp(x - highest))))
  return a.map((x) => x - log)
}

function sum(all: Numbers): number {
  let total = 0
  for (let i = 0; i < all.length; i++) total += all[i]!
  return total
}
