import { readLikeliest, type TokenLogProbability } from "../kernels/likeliest.ts"
import type { Sampling } from "../kernels/sample.ts"
import { Trail } from "./prefix_trail.ts"
import type { Sequence } from "./sequence.ts"

/** Says which tokens may come next in an answer. */
export interface TokenMask {
  /** `[ceil(V / 32)]`: bit `v % 32` of word `v / 32` allows token v. At least one is allowed. */
  bits(): Uint32Array<ArrayBuffer>
  /** Takes the token that was drawn, before the next bits are asked for. */
  push(token: number): void
}

/** Tokens that were read together. */
export interface Drawn {
  readonly tokens: readonly number[]
  /** Of each token, if asked for. */
  readonly logprobs?: readonly TokenLogProbability[] | undefined
}

export interface DrawOptions {
  readonly sampling: Sampling
  /** With each token its log-probability and so many of the likeliest, at most MAX_LIKELIEST; without it none. */
  readonly logprobs?: number | undefined
  /** Draw only what it allows. Tokens then come one by one, as the host must see each before the next. */
  readonly mask?: TokenMask | undefined
}

/** Where drawing begins. */
export interface Beginning {
  /** The tokens so far, of which all but the last went through the sequence. */
  readonly tokens: readonly number[]
  /** Those that the repetition penalty knows. */
  readonly history: readonly number[]
  /** How many were drawn before: the noise goes on from there. */
  readonly drawn: number
}

/** What drawing has cost. */
export interface DrawStats {
  /** From the end of the prefill to the last token read, less what the caller took between. */
  decodeMs: number
  /** Tokens drawn, those included that came after the caller stopped reading. */
  drawn: number
  /** Time in which the host recorded and submitted decode steps, shared out among the sequences that took them together. */
  hostMs: number
  readbacks: number
}

/** A sequence whose tokens are not taken waits behind so many batches. */
const UNTAKEN = 2

/** An answer that is drawn into a sequence. */
export class Answer {
  readonly sequence: Sequence
  readonly options: DrawOptions
  readonly stats: DrawStats
  readonly trail: Trail
  /** Position of the first token that goes through. */
  readonly start: number
  /** Tokens to draw in all, in steps submitted, and read. */
  readonly count: number
  submitted = 0
  read = 0
  /** Read, and not yet taken. */
  readonly pieces: Drawn[] = []

  constructor(sequence: Sequence, { tokens }: Beginning, count: number, stats: DrawStats, options: DrawOptions) {
    this.sequence = sequence
    this.options = options
    this.stats = stats
    this.trail = new Trail(sequence.prefix, tokens)
    this.start = tokens.length - 1
    this.count = count
  }

  /** Whether it takes part in the next steps. */
  get ready(): boolean {
    const known = this.options.mask === undefined || this.read === this.submitted
    return this.submitted < this.count && this.pieces.length < UNTAKEN && known
  }

  /** Its row in what decode steps read and write. */
  get index(): number {
    return this.sequence.index
  }

  /**
   * Takes what steps have drawn, in order.
   *
   * @param known its part of the likeliest tokens' output, if that was read
   */
  take(tokens: readonly number[], known: DataView | undefined): void {
    const { mask, logprobs } = this.options
    const from = this.read
    this.trail.drawn(tokens)
    this.read += tokens.length
    for (const token of tokens) mask?.push(token)
    const each = known && tokens.map((token, i) => readLikeliest(known, from + i, token, logprobs ?? 0))
    this.pieces.push(logprobs === undefined ? { tokens } : { tokens, logprobs: each })
  }
}
