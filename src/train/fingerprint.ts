/** A running hash of bytes, to tell data from other data. It is no protection against someone who wants a collision. */
export class Fingerprint {
  #a = 0x811c9dc5
  #b = 0x9747b28c
  #byteLength = 0

  /** Two lanes of FNV-1a (Fowler, Noll & Vo), the second with another prime, and the number of bytes. */
  update(bytes: Uint8Array): this {
    let a = this.#a
    let b = this.#b
    for (let i = 0; i < bytes.byteLength; i++) {
      a = Math.imul(a ^ bytes[i]!, 0x01000193)
      b = Math.imul(b ^ bytes[i]!, 0x85ebca6b)
    }
    this.#a = a
    this.#b = b
    this.#byteLength += bytes.byteLength
    return this
  }

  /** Hexadecimal digits of the lanes, and the number of bytes so far. */
  toString(): string {
    const hex = (lane: number) => (lane >>> 0).toString(16).padStart(8, "0")
    return `${hex(this.#a)}${hex(this.#b)}-${this.#byteLength}`
  }
}
