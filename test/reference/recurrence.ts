type Numbers = ArrayLike<number>

/** `h[t] = a[t] * h[t - 1] + b[t]`, all `[T, C]`, from h[-1] `[C]` or 0. */
export function recurrence(a: Numbers, b: Numbers, C: number, before?: Numbers): Float64Array {
  const h = new Float64Array(a.length)
  for (let n = 0; n < a.length; n++) {
    const last = n < C ? (before?.[n] ?? 0) : h[n - C]!
    h[n] = a[n]! * last + b[n]!
  }
  return h
}

/** Gradients of `sum(recurrence(a, b) * dh)`. */
export function recurrenceBackward(
  a: Numbers,
  b: Numbers,
  C: number,
  dh: Numbers,
): { da: Float64Array; db: Float64Array } {
  const h = recurrence(a, b, C)
  const [da, db] = [new Float64Array(a.length), new Float64Array(a.length)]
  for (let n = a.length - 1; n >= 0; n--) {
    const next = n + C
    db[n] = dh[n]! + (next < a.length ? a[next]! * db[next]! : 0)
    da[n] = n < C ? 0 : db[n]! * h[n - C]!
  }
  return { da, db }
}
