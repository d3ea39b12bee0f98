type Numbers = ArrayLike<number>

export interface Gates {
  /** `[C]`, 0 without it. */
  readonly lower?: Numbers | undefined
  /** `[T]`, where each position's sequence begins. */
  readonly starts?: Numbers | undefined
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))
const silu = (x: number): number => x * sigmoid(x)
const siluSlope = (x: number): number => sigmoid(x) + x * sigmoid(x) * sigmoid(-x)

/** `f = lower + (1 - lower) * sigmoid(z)`, `input = SiLU(i) * (1 - f)`, `decay = f` but 0 where `starts[t] = t`; `[T, C]`. */
export function gates(
  i: Numbers,
  z: Numbers,
  C: number,
  { lower, starts }: Gates,
): { decay: Float64Array; input: Float64Array } {
  const decay = new Float64Array(z.length)
  const input = new Float64Array(z.length)
  for (let n = 0; n < z.length; n++) {
    const [t, bound] = [Math.floor(n / C), lower?.[n % C] ?? 0]
    decay[n] = starts?.[t] === t ? 0 : bound + (1 - bound) * sigmoid(z[n]!)
    input[n] = silu(i[n]!) * (1 - bound) * sigmoid(-z[n]!)
  }
  return { decay, input }
}

/** Gradients of `sum(decay * ddecay + input * dinput)`. */
export function gatesBackward(
  i: Numbers,
  z: Numbers,
  C: number,
  { lower, starts }: Gates,
  { ddecay, dinput }: { ddecay?: Numbers; dinput?: Numbers },
): { di: Float64Array; dz: Float64Array; dlower: Float64Array } {
  const [di, dz, dlower] = [new Float64Array(z.length), new Float64Array(z.length), new Float64Array(C)]
  for (let n = 0; n < z.length; n++) {
    const [t, bound] = [Math.floor(n / C), lower?.[n % C] ?? 0]
    const [byDecay, byInput] = [starts?.[t] === t ? 0 : (ddecay?.[n] ?? 0), dinput?.[n] ?? 0]
    const df = byDecay - byInput * silu(i[n]!)
    di[n] = byInput * (1 - bound) * sigmoid(-z[n]!) * siluSlope(i[n]!)
    dz[n] = df * (1 - bound) * sigmoid(z[n]!) * sigmoid(-z[n]!)
    dlower[n % C]! += df * sigmoid(-z[n]!)
  }
  return { di, dz, dlower }
}
