/** Everything that the next numbers depend on: four unsigned 32-bit integers, fit for JSON. */
export type RandomState = readonly [number, number, number, number]

/**
 * A stream of pseudo-random numbers, the same on every runtime for the same seed: sfc32 of PractRand, 128 bits of state of
 * which 32 are a counter, so that no stream is shorter than 2^32. Not for secrets.
 */
export class Random {
  readonly #state: Uint32Array

  /** @param seed a non-negative integer below 2^53, or the state of another stream to go on from */
  constructor(seed: number | RandomState) {
    if (typeof seed !== "number") {
      this.#state = Uint32Array.from(expectState(seed))
      return
    }
    expectSeed(seed)
    this.#state = Uint32Array.of(0, seed, Math.floor(seed / 2 ** 32), 1)
    for (let i = 0; i < 16; i++) this.bits() // until each bit of the seed has reached the whole state
  }

  /** What to hand to the constructor to go on from here. */
  get state(): RandomState {
    const [a, b, c, counter] = this.#state
    return [a!, b!, c!, counter!]
  }

  /** 32 random bits as an unsigned integer. */
  bits(): number {
    const s = this.#state
    const [a, b, c, counter] = s as unknown as [number, number, number, number]
    const result = (a + b + counter) >>> 0
    s[0] = b ^ (b >>> 9)
    s[1] = c + (c << 3)
    s[2] = ((c << 21) | (c >>> 11)) + result
    s[3] = counter + 1
    return result
  }

  /** A number of [0, 1) with 53 random bits. */
  uniform(): number {
    const high = this.bits() >>> 5
    return (high * 2 ** 26 + (this.bits() >>> 6)) / 2 ** 53
  }

  /** A number of the standard normal distribution by Box and Muller. Math.log and Math.cos may differ in the last bit. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()))
    return radius * Math.cos(2 * Math.PI * this.uniform())
  }
}

/** A seed for one part of a whole, so that what a part is given does not depend on the other parts: FNV-1a of the name. */
export function seedFor(seed: number, name: string): number {
  expectSeed(seed)
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(`${seed} ${name}`)) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

function expectSeed(seed: number): void {
  if (Number.isSafeInteger(seed) && seed >= 0) return
  throw new RangeError(`Random: seed is ${seed}, expected a non-negative integer below 2^53`)
}

function expectState(state: RandomState): RandomState {
  const isWord = (word: unknown) => Number.isInteger(word) && (word as number) >>> 0 === word
  if (Array.isArray(state) && state.length === 4 && state.every(isWord)) return state
  throw new RangeError(`Random: state is ${JSON.stringify(state)}, expected four unsigned 32-bit integers`)
}
