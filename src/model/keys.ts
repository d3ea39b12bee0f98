/** A JSON object, as opposed to an array, a scalar or null. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

/** A value as an error quotes it: one line, at most 60 characters. */
export function show(value: unknown): string {
  const text = value === undefined ? "missing" : (JSON.stringify(value) ?? String(value))
  return clip(text, 60)
}

/** A name or value from a file, at a length that an error can carry. */
export function clip(text: string, length = 120): string {
  return text.length > length ? `${text.slice(0, length - 3)}...` : text
}

/** The keys of one JSON object, read by type. It remembers what was read, so that a key nobody understood is an error. */
export class Keys {
  readonly file: string
  readonly path: string
  readonly #values: Map<string, unknown>
  readonly #read = new Set<string>()

  /** @param path what stands before a key in errors, such as `text_config.` */
  constructor(json: unknown, file: string, path = "") {
    if (!isObject(json)) {
      const what = path === "" ? "the top level" : path.slice(0, -1)
      throw new TypeError(`${file}: ${what} is ${show(json)}, expected an object`)
    }
    this.file = file
    this.path = path
    this.#values = new Map(Object.entries(json))
  }

  /** A key's value; an explicit null counts as absent. */
  get(key: string): unknown {
    this.#read.add(key)
    return this.#values.get(key) ?? undefined
  }

  /** Whether the key is written at all, even as null. */
  has(key: string): boolean {
    return this.#values.has(key)
  }

  delete(key: string): void {
    this.#values.delete(key)
  }

  /** `<file>: <key> is <value>, expected <expected>`. */
  describe(key: string, expected: string): string {
    return `${this.file}: ${this.path}${key} is ${show(this.#values.get(key))}, expected ${expected}`
  }

  /** A finite number above zero. Without a fallback the key is required. */
  positive(key: string, fallback?: number): number {
    const value = this.get(key) ?? fallback
    if (typeof value !== "number") throw new TypeError(this.describe(key, "a number above 0"))
    if (!(value > 0 && value < Number.POSITIVE_INFINITY)) throw new RangeError(this.describe(key, "a number above 0"))
    return value
  }

  /** An integer of `[min, max]`. Without a fallback the key is required. */
  integer(key: string, min: number, max: number, fallback?: number): number {
    const value = this.get(key) ?? fallback
    const expected = `an integer of ${min} to ${max}`
    if (typeof value !== "number") throw new TypeError(this.describe(key, expected))
    if (!(Number.isSafeInteger(value) && value >= min && value <= max)) {
      throw new RangeError(this.describe(key, expected))
    }
    return value
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback
    if (typeof value !== "boolean") throw new TypeError(this.describe(key, "true or false"))
    return value
  }

  /** One of the listed strings. Without a fallback the key is required. */
  choice<T extends string>(key: string, choices: readonly T[], fallback?: T): T {
    const value = this.get(key) ?? fallback
    if (typeof value !== "string") throw new TypeError(this.describe(key, choices.join(" or ")))
    if (!choices.includes(value as T)) throw new RangeError(this.describe(key, choices.join(" or ")))
    return value as T
  }

  /** The object under a key, or undefined. */
  nested(key: string): Keys | undefined {
    const value = this.get(key)
    return value === undefined ? undefined : new Keys(value, this.file, `${this.path}${key}.`)
  }

  /** Refuses by name every key that was not read, is not known to be harmless, and is neither null nor false. */
  refuseUnread(harmless: (key: string) => boolean): void {
    for (const [key, value] of this.#values) {
      if (this.#read.has(key) || value === null || value === false || harmless(key)) continue
      throw new RangeError(this.describe(key, "no such key (it is not supported and may change the results)"))
    }
  }
}
