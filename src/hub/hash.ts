/** A hash that takes its bytes piece by piece, as `node:crypto`'s does. WebCrypto's wants all of them at once. */
export interface Hash {
  update(bytes: Uint8Array): void
  /** In hexadecimal digits; ends it. */
  digest(encoding: "hex"): string
}

/** What the Hub tells of a file's content: the hash of its bytes, or git's sha1 of a blob. */
export type HashAlgorithm = "sha256" | "git-sha1"

export type StartHash = (algorithm: HashAlgorithm, size: number) => Hash

/** What git hashes before a file's bytes. */
export function gitHeader(size: number): Uint8Array {
  return new TextEncoder().encode(`blob ${size}\0`)
}

/** A hash in plain JavaScript, for runtimes without `node:crypto`. */
export const startHash: StartHash = (algorithm, size) => {
  if (algorithm === "sha256") return new BlockHash(SHA256_START, sha256Block)
  const hash = new BlockHash(SHA1_START, sha1Block)
  hash.update(gitHeader(size))
  return hash
}

const BLOCK = 64

/** FIPS 180-4, 5: the state goes through a function for each 64 bytes; a one and the length in bits end the message. */
class BlockHash implements Hash {
  readonly #state: Int32Array
  readonly #mix: (state: Int32Array, block: DataView, at: number) => void
  /** Bytes of a block that is not full yet. */
  readonly #rest = new Uint8Array(BLOCK)
  #length = 0

  constructor(start: readonly number[], mix: (state: Int32Array, block: DataView, at: number) => void) {
    this.#state = Int32Array.from(start)
    this.#mix = mix
  }

  update(bytes: Uint8Array): void {
    const held = this.#length % BLOCK
    this.#length += bytes.length
    let at = 0
    if (held > 0) {
      at = Math.min(BLOCK - held, bytes.length)
      this.#rest.set(bytes.subarray(0, at), held)
      if (held + at < BLOCK) return
      this.#mix(this.#state, new DataView(this.#rest.buffer), 0)
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (; at + BLOCK <= bytes.length; at += BLOCK) this.#mix(this.#state, view, at)
    this.#rest.set(bytes.subarray(at))
  }

  digest(_encoding: "hex"): string {
    const length = this.#length
    const end = new Uint8Array(BLOCK - ((length + 8) % BLOCK) + 8)
    end[0] = 0x80
    new DataView(end.buffer).setBigUint64(end.length - 8, BigInt(length) * 8n)
    this.update(end)
    return Array.from(this.#state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("")
  }
}

/** FIPS 180-4, 5.3.1. */
const SHA1_START = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0]

const sha1Words = new Int32Array(80)

/** FIPS 180-4, 6.1.2. */
function sha1Block(state: Int32Array, block: DataView, at: number): void {
  const w = sha1Words
  for (let t = 0; t < 16; t++) w[t] = block.getInt32(at + 4 * t)
  for (let t = 16; t < 80; t++) w[t] = rotateLeft(w[t - 3]! ^ w[t - 8]! ^ w[t - 14]! ^ w[t - 16]!, 1)
  let a = state[0]!
  let b = state[1]!
  let c = state[2]!
  let d = state[3]!
  let e = state[4]!
  for (let t = 0; t < 80; t++) {
    const f = t < 20 ? (b & c) ^ (~b & d) : t < 40 || t >= 60 ? b ^ c ^ d : (b & c) ^ (b & d) ^ (c & d)
    const k = t < 20 ? 0x5a827999 : t < 40 ? 0x6ed9eba1 : t < 60 ? 0x8f1bbcdc : 0xca62c1d6
    const next = (rotateLeft(a, 5) + f + e + k + w[t]!) | 0
    e = d
    d = c
    c = rotateLeft(b, 30)
    b = a
    a = next
  }
  add(state, [a, b, c, d, e])
}

const PRIMES = firstPrimes(64)

/** FIPS 180-4, 4.2.2 and 5.3.3: 32 bits of the fractions of the first primes' cube and square roots. */
const SHA256_CONSTANTS = Int32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)))
const SHA256_START = PRIMES.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)))

const sha256Words = new Int32Array(64)

/** FIPS 180-4, 6.2.2. */
function sha256Block(state: Int32Array, block: DataView, at: number): void {
  const w = sha256Words
  for (let t = 0; t < 16; t++) w[t] = block.getInt32(at + 4 * t)
  for (let t = 16; t < 64; t++) {
    const x = w[t - 15]!
    const y = w[t - 2]!
    const low = rotateLeft(x, 25) ^ rotateLeft(x, 14) ^ (x >>> 3)
    const high = rotateLeft(y, 15) ^ rotateLeft(y, 13) ^ (y >>> 10)
    w[t] = (high + w[t - 7]! + low + w[t - 16]!) | 0
  }
  let a = state[0]!
  let b = state[1]!
  let c = state[2]!
  let d = state[3]!
  let e = state[4]!
  let f = state[5]!
  let g = state[6]!
  let h = state[7]!
  for (let t = 0; t < 64; t++) {
    const high = rotateLeft(e, 26) ^ rotateLeft(e, 21) ^ rotateLeft(e, 7)
    const first = (h + high + ((e & f) ^ (~e & g)) + SHA256_CONSTANTS[t]! + w[t]!) | 0
    const low = rotateLeft(a, 30) ^ rotateLeft(a, 19) ^ rotateLeft(a, 10)
    const second = (low + ((a & b) ^ (a & c) ^ (b & c))) | 0
    h = g
    g = f
    f = e
    e = (d + first) | 0
    d = c
    c = b
    b = a
    a = (first + second) | 0
  }
  add(state, [a, b, c, d, e, f, g, h])
}

function add(state: Int32Array, words: readonly number[]): void {
  for (let i = 0; i < words.length; i++) state[i] = state[i]! + words[i]!
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}

function fraction(root: number): number {
  return ((root - Math.floor(root)) * 2 ** 32) | 0
}

function firstPrimes(count: number): number[] {
  const primes: number[] = []
  for (let n = 2; primes.length < count; n++) if (primes.every((prime) => n % prime !== 0)) primes.push(n)
  return primes
}
