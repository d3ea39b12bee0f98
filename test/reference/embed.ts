/** `x[t] = scale * weight[ids[t]]`, weight `[V, C]`. */
export function embed(ids: ArrayLike<number>, weight: ArrayLike<number>, C: number, scale: number): Float64Array {
  return Float64Array.from({ length: ids.length * C }, (_, i) => scale * weight[ids[Math.floor(i / C)]! * C + (i % C)]!)
}

/** Gradient of `sum(embed(weight) * dx)`, `[V, C]`. */
export function embedBackward(
  ids: ArrayLike<number>,
  dx: ArrayLike<number>,
  [V, C]: readonly [V: number, C: number],
  scale: number,
): Float64Array {
  const dweight = new Float64Array(V * C)
  for (let i = 0; i < dx.length; i++) dweight[ids[Math.floor(i / C)]! * C + (i % C)]! += scale * dx[i]!
  return dweight
}
