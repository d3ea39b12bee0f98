/** A block of 32 weights, and the numbers that it stands for. */
export interface Block {
  readonly codes: readonly number[]
  readonly scale: number
  readonly zero: number
  readonly values: readonly number[]
}

/** What memory of N rows of C columns in q4 or q8 holds: N C / 32 blocks. Word j of row n is `32 (w floor(n / 32) + j) + n mod 32`. */
export function blocks(memory: Uint32Array, [N, C]: readonly [number, number], dtype: "q4" | "q8"): Block[] {
  const [words, read] = dtype === "q4" ? [5, readQ4] : [9, readQ8]
  const w = (C / 32) * words
  const word = (n: number, j: number) => memory[32 * (w * Math.floor(n / 32) + j) + (n % 32)]!
  return Array.from({ length: (N * C) / 32 }, (_, i) => {
    const [n, b] = [Math.floor((i * 32) / C), i % (C / 32)]
    return read(Uint32Array.from({ length: words }, (_, k) => word(n, b * words + k)))
  })
}

/** Columns 8 j + 4 h + i of word j at bit 8 h and 0, 4, 16 or 20; the last word is the scale, its last eight bits the zero in sixteenths. */
function readQ4(words: Uint32Array): Block {
  const bits = [0, 4, 16, 20]
  const code = (c: number) =>
    Math.floor(words[Math.floor(c / 8)]! / 2 ** (8 * (Math.floor(c / 4) % 2) + bits[c % 4]!)) % 16
  const sixteenths = words[4]! % 256
  return block(
    Array.from({ length: 32 }, (_, c) => code(c)),
    float(words[4]! - sixteenths),
    sixteenths / 16,
  )
}

/** Column 4 j + i of word j in byte i, signed. */
function readQ8(words: Uint32Array): Block {
  const byte = (c: number) => Math.floor(words[Math.floor(c / 4)]! / 256 ** (c % 4)) % 256
  const code = (c: number) => (byte(c) < 128 ? byte(c) : byte(c) - 256)
  return block(
    Array.from({ length: 32 }, (_, c) => code(c)),
    float(words[8]!),
    0,
  )
}

function block(codes: number[], scale: number, zero: number): Block {
  return { codes, scale, zero, values: codes.map((code) => scale * (code - zero)) }
}

function float(bits: number): number {
  const data = new DataView(new ArrayBuffer(4))
  data.setUint32(0, bits)
  return data.getFloat32(0)
}

/** The numbers that blocks stand for, one behind the other. */
export function valuesOf(all: readonly Block[]): Float64Array {
  return Float64Array.from(all.flatMap(({ values }) => values))
}

/**
 * The least sum of squared errors, column by column times `m`, that four bits leave of these weights, of zeros in eighths and of steps
 * between 0.7 and 1.1 of a 15th of the range: for each of both the nearest codes, and the scale that fits them.
 */
export function leastError(w: readonly number[], m: readonly number[]): number {
  const range = Math.max(0, ...w) - Math.min(0, ...w)
  if (range === 0) return 0
  let least = Number.POSITIVE_INFINITY
  for (let step = (0.7 * range) / 15; step < (1.1 * range) / 15; step += (0.01 * range) / 15) {
    for (let zero = 0; zero < 16; zero += 1 / 8) {
      const v = w.map((x) => Math.min(15, Math.max(0, Math.round(x / step + zero))) - zero)
      const sum = (f: (x: number, v: number) => number) => w.reduce((all, x, c) => all + m[c]! * f(x, v[c]!), 0)
      const scale = sum((x, v) => x * v) / sum((_, v) => v * v)
      least = Math.min(
        least,
        sum((x, v) => (x - scale * v) ** 2),
      )
    }
  }
  return least
}

/** x in eight bits, in blocks of 32: multiples of the block's greatest magnitude by 127. */
export function roundBlocks(x: ArrayLike<number>): Float64Array {
  return Float64Array.from(x, (value, i) => {
    const first = i - (i % 32)
    const most = Math.max(...Array.from({ length: 32 }, (_, c) => Math.abs(x[first + c]!)))
    return most === 0 ? 0 : (Math.round((value * 127) / most) * most) / 127
  })
}

/** What a layer's outputs lose when its weight becomes another, over inputs of a second moment: `tr(E H E^T)`. */
export function outputError(weight: ArrayLike<number>, other: ArrayLike<number>, moment: ArrayLike<number>): number {
  const C = Math.sqrt(moment.length)
  let sum = 0
  for (let row = 0; row < weight.length; row += C) {
    const e = Array.from({ length: C }, (_, c) => weight[row + c]! - other[row + c]!)
    e.forEach((left, j) => {
      e.forEach((right, k) => {
        sum += left * moment[j * C + k]! * right
      })
    })
  }
  return sum
}
