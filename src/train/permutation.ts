/** Draws uniform integers of `[0, 2^32)`. */
export type Generator = () => number

/**
 * xoshiro128** (Blackman & Vigna, arXiv:1805.01407), its state filled by splitmix32 from a seed and a stream number, so
 * that streams of one seed have nothing to do with one another. The numbers are the same on every machine.
 *
 * @param seed   a whole number from 0 to 2^53 - 1
 * @param stream a whole number from 0 to 2^32 - 1
 */
export function generator(seed: number, stream = 0): Generator {
  expectSeed("generator", seed)
  const next = splitmix32(scramble(scramble(scramble(seed % 2 ** 32) ^ Math.floor(seed / 2 ** 32)) ^ stream))
  let [a, b, c, d] = [next(), next(), next(), next()]
  return () => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0
    const t = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= t
    d = rotate(d, 11)
    return result
  }
}

/** Throws a RangeError unless the seed is a whole number from 0 to 2^53 - 1. */
export function expectSeed(subject: string, seed: number): void {
  if (Number.isSafeInteger(seed) && seed >= 0) return
  throw new RangeError(`${subject}: seed is ${seed}, expected a whole number from 0 to 2^53 - 1`)
}

/** The numbers `0 .. count - 1` in an order that seed and stream decide: Fisher and Yates' shuffle. */
export function permutation(count: number, seed: number, stream = 0): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i)
  const next = generator(seed, stream)
  for (let i = count - 1; i > 0; i--) {
    const j = below(next, i + 1)
    const taken = order[i]!
    order[i] = order[j]!
    order[j] = taken
  }
  return order
}

/** Fills an array with draws of N(0, deviation^2), two at a time (Box & Muller 1958). */
export function fillNormal(values: Float32Array, deviation: number, next: Generator): void {
  for (let i = 0; i < values.length; i += 2) {
    const radius = deviation * Math.sqrt(-2 * Math.log((next() + 1) / 2 ** 32))
    const angle = (2 * Math.PI * next()) / 2 ** 32
    values[i] = radius * Math.cos(angle)
    if (i + 1 < values.length) values[i + 1] = radius * Math.sin(angle)
  }
}

/** Uniform in `[0, count)`. Draws beyond the last whole multiple of `count` are thrown away, as they would favour some. */
function below(next: Generator, count: number): number {
  const limit = 2 ** 32 - (2 ** 32 % count)
  for (;;) {
    const drawn = next()
    if (drawn < limit) return drawn % count
  }
}

function splitmix32(seed: number): Generator {
  let state = seed
  return () => {
    state = (state + 0x9e3779b9) | 0
    return scramble(state)
  }
}

/** MurmurHash3's finalizer (A. Appleby): each bit of the result depends on every bit of the number. */
function scramble(number: number): number {
  let h = number | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

function rotate(bits: number, by: number): number {
  return (bits << by) | (bits >>> (32 - by))
}
