/** `x[t] = scale * weight[ids[t]]`, weight `[V, C]`. */
export function embed(ids: ArrayLike<number>, weight: ArrayLike<number>, C: number, scale: number): Float64Array {
  return Float64Array.from({ length: ids.length * C }, (_, i) => scale * weight[ids[Math.floor(i / C)]! * C + (i % C)]!)
}
