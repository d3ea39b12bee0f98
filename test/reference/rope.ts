export interface Rotation {
  readonly H: number
  readonly D: number
  readonly theta: number
  readonly factor: number
  /** The position of x[0]. */
  readonly position: number
}

/** The angle by which pair j of a head of D turns at a position. */
export function angle(position: number, j: number, { D, theta, factor }: Omit<Rotation, "H" | "position">): number {
  return (position / factor) * theta ** ((-2 * j) / D)
}

/** Rotates the pairs (j, j + D/2) of each head of x `[T, H, D]` by the angle of its token's position. */
export function rope(x: ArrayLike<number>, rotation: Rotation): Float64Array {
  const { H, D, position } = rotation
  const y = new Float64Array(x.length)
  for (let head = 0; head < x.length; head += D) {
    for (let j = 0; j < D / 2; j++) {
      const turn = angle(position + Math.floor(head / (H * D)), j, rotation)
      const [x1, x2] = [x[head + j]!, x[head + j + D / 2]!]
      y[head + j] = x1 * Math.cos(turn) - x2 * Math.sin(turn)
      y[head + j + D / 2] = x2 * Math.cos(turn) + x1 * Math.sin(turn)
    }
  }
  return y
}

/** Gradient of `sum(rope(x) * dy)`: the transposed rotation of each pair. */
export function ropeBackward(dy: ArrayLike<number>, rotation: Rotation): Float64Array {
  const { H, D, position } = rotation
  const dx = new Float64Array(dy.length)
  for (let head = 0; head < dy.length; head += D) {
    for (let j = 0; j < D / 2; j++) {
      const turn = angle(position + Math.floor(head / (H * D)), j, rotation)
      const [dy1, dy2] = [dy[head + j]!, dy[head + j + D / 2]!]
      dx[head + j] = dy1 * Math.cos(turn) + dy2 * Math.sin(turn)
      dx[head + j + D / 2] = dy2 * Math.cos(turn) - dy1 * Math.sin(turn)
    }
  }
  return dx
}
