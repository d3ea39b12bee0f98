type Numbers = ArrayLike<number>

/** Rows 1 to layer of the softmax over the rows of bounds `[L, C]`, added up; `[C]`. */
export function lowerBound(bounds: Numbers, C: number, layer: number): Float64Array {
  const s = softmax(bounds, C)
  return Float64Array.from({ length: C }, (_, c) => {
    let sum = 0
    for (let l = 1; l <= layer; l++) sum += s[l * C + c]!
    return sum
  })
}

/** Gradient of `sum(lowerBound(bounds) * dy)`, through the softmax's own. */
export function lowerBoundBackward(bounds: Numbers, C: number, layer: number, dy: Numbers): Float64Array {
  const s = softmax(bounds, C)
  const ds = s.map((_, n) => (n >= C && n < (layer + 1) * C ? dy[n % C]! : 0))
  const along = new Float64Array(C)
  for (let n = 0; n < s.length; n++) along[n % C]! += s[n]! * ds[n]!
  return s.map((value, n) => value * (ds[n]! - along[n % C]!))
}

/** Over the rows of each column. */
function softmax(x: Numbers, C: number): Float64Array {
  const highest = new Float64Array(C).fill(-Infinity)
  for (let n = 0; n < x.length; n++) highest[n % C] = Math.max(highest[n % C]!, x[n]!)
  const powers = Float64Array.from(x, (value, n) => Math.exp(value - highest[n % C]!))
  const totals = new Float64Array(C)
  for (let n = 0; n < powers.length; n++) totals[n % C]! += powers[n]!
  return powers.map((value, n) => value / totals[n % C]!)
}
