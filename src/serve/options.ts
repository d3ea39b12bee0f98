import type { LanguageModel } from "../api.ts"

/** How a model is served. */
export interface ServeOptions {
  /** The name under which requests ask for the model; by default what it was loaded from. */
  readonly id?: string
  /**
   * A smaller model on the same GPU device (`load({ beside })`) that proposes tokens; the text is what it is without. It should have
   * as many sequences as the model, so that answers do not wait for it. Answers to a schema do without.
   */
  readonly draft?: LanguageModel
  /** The most tokens that it proposes at a time, 1 to 16; 4 by default. */
  readonly draftTokens?: number
  /** Requests must bring it as `Authorization: Bearer KEY`; without one everybody may ask. */
  readonly apiKey?: string
  /** Answers that may wait for their turn; 256 by default. One more is told to come back later: status 429. */
  readonly maxQueue?: number
  /** Bytes that a request's body may have; 1 MiB by default. */
  readonly maxBodyBytes?: number
  /**
   * How long a request may take, its wait included; 10 minutes by default. Then an answer ends with what it has, as if
   * max_tokens were reached; without a token yet it is an error: status 503.
   */
  readonly timeoutMs?: number
  /** How long a client may leave a stream unread while others wait; 10 seconds by default. */
  readonly stallMs?: number
  /** Silence in a stream after which a comment keeps the connection alive; 15 seconds by default. */
  readonly keepAliveMs?: number
  /** Origins whose pages may ask, or `*`; by default none: a request that a browser makes for a page is refused. */
  readonly cors?: readonly string[]
  /** Told of each request when it is over. */
  readonly onRequest?: (entry: RequestEntry) => void
}

/** A request that is over. */
export interface RequestEntry {
  readonly method: string
  readonly path: string
  /** 499 if the client left before there was one. */
  readonly status: number
  readonly ms: number
  readonly promptTokens: number
  readonly tokens: number
  /** Why it ended before its answer did: the client left or read too slowly, its time was up, the server closed. */
  readonly cut: "left" | "slow" | "time" | "closing" | undefined
}

/** A day; timers know no more than 25. */
const LONGEST_MS = 86_400_000
const DEFAULTS = {
  maxQueue: 256,
  maxBodyBytes: 2 ** 20,
  timeoutMs: 600_000,
  stallMs: 10_000,
  keepAliveMs: 15_000,
  cors: [] as readonly string[],
}

/**
 * The options with their defaults.
 *
 * @throws {RangeError} for a limit that is none, or an empty key
 */
export function withDefaults(given: ServeOptions): ServeOptions & typeof DEFAULTS {
  const options = { ...DEFAULTS, ...defined(given) }
  expectWhole("maxQueue", options.maxQueue, 0, Number.MAX_SAFE_INTEGER)
  expectWhole("maxBodyBytes", options.maxBodyBytes, 1, Number.MAX_SAFE_INTEGER)
  for (const name of ["timeoutMs", "stallMs", "keepAliveMs"] as const) {
    expectWhole(name, options[name], 1, LONGEST_MS)
  }
  if (options.apiKey === "") throw new RangeError('serve: apiKey is "", expected a key or none')
  return options
}

function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
}

function expectWhole(name: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return
  throw new RangeError(`serve: ${name} is ${value}, expected a whole number from ${least} to ${most}`)
}
