import type { Device } from "../kernels/device.ts"
import type { Tensor } from "../kernels/tensor.ts"
import type { Kept, PiecewisePassage } from "./network.ts"
import { RingCopies, type RingCopy } from "./prefix_copies.ts"

/** Copies may take as much as the passage itself, and this much where that is little. */
const LEAST_BUDGET = 64 * 2 ** 20
/** How many tokens are at most drawn past an answer's end. */
const DRAWN_PAST_END = 32

/** A position to which a later sequence may want to go back. */
interface Mark {
  readonly at: number
  /** It is one of an answer's steps, which soon lie far behind. */
  readonly passing: boolean
}

/** A tensor that has what a passage keeps of positions `[lowest, end)`, the newest `capacity` of them. */
export interface KeptPart {
  readonly kept: Kept
  readonly tensor: Tensor
  readonly lowest: number
  readonly end: number
}

/**
 * Knows which tokens a passage has something of, and takes it back to where another sequence departs from them. Slots that
 * positions have to themselves stay as they are until they are written again. A ring of capacity K into which position
 * e - 1 was written last holds the positions from e - K on, and a token at position d sees those from d - W + 1 on: so it can
 * go on from d if `max(0, d - W + 1) >= e - K`. From further back it can only with a copy, taken before it was too late.
 */
export class Prefix {
  readonly kept: readonly Kept[]
  /** Those of them whose slots positions share. */
  readonly rings: readonly Kept[]
  readonly #copies: RingCopies
  /** Those that the passage has something of, from position 0. */
  #tokens: number[] = []
  /** Where the sequence ends; past what is known of its tokens while steps are underway. */
  #end = 0
  /** The first position that each ring still holds. */
  #lowest: readonly number[]
  #marks: readonly Mark[] = []

  /** @param context positions that the passage holds */
  constructor(device: Device, { kept, byteLength }: PiecewisePassage, context: number) {
    this.kept = kept
    this.rings = kept.filter(({ tensor }) => tensor.shape[0]! < context)
    this.#lowest = this.rings.map(() => 0)
    this.#copies = new RingCopies(device, this.rings, Math.max(byteLength, LEAST_BUDGET))
  }

  /** The tokens from position 0 on that the passage has something of. */
  get tokens(): readonly number[] {
    return this.#tokens
  }

  /** Resolves when all copies are made; to be awaited before `restore` and `parts`. */
  get settled(): Promise<void> {
    return this.#copies.settled
  }

  /**
   * Takes the passage back to where it knows as many of these tokens as it can.
   *
   * @returns how many it has: the next that goes through must be `ids` from there on
   */
  restore(ids: readonly number[]): number {
    const { at, copy } = this.#furthest(ids)
    if (at === 0) return 0
    if (copy) {
      this.#copies.restore(copy)
      this.#lowest = copy.lowest
    }
    this.#cut(at)
    this.#tokens = ids.slice(0, at)
    this.#end = at
    this.#marks = this.#marks.filter((mark) => mark.at <= at)
    this.mark()
    return at
  }

  /** How many of these tokens `restore` would find. */
  reach(ids: readonly number[]): number {
    return this.#furthest(ids).at
  }

  /** Remembers the end of the sequence as a place to go back to. */
  mark(): void {
    this.#settle()
    const known = this.#copies.all.some(({ tokens, lowest }) => {
      return this.#reach(this.#tokens, tokens!, lowest) === this.#end
    })
    if (!known) this.#mark(false)
  }

  /** Must be called before positions `[from, to)` are written. */
  reserve(from: number, to: number): void {
    const before = from === 0 ? this.rings.map(() => 0) : this.#lowest
    const lowest = this.rings.map(({ tensor }, i) => Math.max(before[i]!, to - tensor.shape[0]!))
    this.#copyInTime(from, lowest)
    if (from < this.#tokens.length) this.#cut(from)
    this.#lowest = lowest
    this.#end = to
  }

  /** Says which tokens were written at position `at` and behind it. */
  append(at: number, tokens: readonly number[]): void {
    if (at === this.#tokens.length) for (const token of tokens) this.#tokens.push(token)
  }

  /** Must be called before a step of an answer where steps may lie past its end, at which the next sequence departs. */
  markStep(): void {
    if (this.#slack < DRAWN_PAST_END && this.#end > 0) this.#mark(true)
  }

  /** Nothing of what there is counts any more: the weights or adapters are others. */
  forget(): void {
    this.#tokens = []
    this.#end = 0
    this.#marks = []
    for (const copy of this.#copies.all) this.#copies.drop(copy)
  }

  /** What there is of these tokens: for each that is kept where it lies. Undefined unless one could go on behind them. */
  parts(ids: readonly number[]): KeptPart[] | undefined {
    this.#settle()
    const here = { tokens: this.#tokens, lowest: this.#lowest, rings: this.rings.map(({ tensor }) => tensor) }
    const found = [here, ...this.#copies.all].find(
      ({ tokens, lowest }) => this.#reach(ids, tokens!, lowest) === ids.length,
    )
    if (!found || ids.length === 0) return undefined
    return this.kept.map((kept) => {
      const i = this.rings.indexOf(kept)
      if (i < 0) return { kept, tensor: kept.tensor, lowest: 0, end: ids.length }
      return { kept, tensor: found.rings[i]!, lowest: found.lowest[i]!, end: ids.length }
    })
  }

  /**
   * Takes over tokens of which everything that is kept was just written, from somewhere else.
   *
   * @param lowest by what is kept, the first position that was
   */
  adopt(tokens: readonly number[], lowest: readonly number[]): void {
    this.#tokens = [...tokens]
    this.#end = tokens.length
    this.#lowest = this.rings.map((ring) => lowest[this.kept.indexOf(ring)]!)
    this.mark()
  }

  /** How far the passage can go back from the end of a sequence that has filled its rings. */
  get #slack(): number {
    return Math.min(...this.rings.map(({ tensor, window }) => tensor.shape[0]! - (window ?? 0) + 1))
  }

  #mark(passing: boolean): void {
    if (this.rings.length > 0) this.#marks = [...this.#marks, { at: this.#end, passing }]
  }

  #reaches(at: number, lowest: readonly number[]): boolean {
    return at === 0 || this.rings.every(({ window }, i) => firstSeen(at, window) >= lowest[i]!)
  }

  /** The furthest that one could go on from, and the copy to do it with, if it is not what the rings hold. */
  #furthest(ids: readonly number[]): { at: number; copy?: RingCopy } {
    this.#settle()
    const here = { at: this.#reach(ids, this.#tokens, this.#lowest) }
    const copies = this.#copies.all.map((copy) => ({ at: this.#reach(ids, copy.tokens!, copy.lowest), copy }))
    return [here, ...copies].reduce((best, each) => (each.at > best.at ? each : best))
  }

  /** From where one may go on who has `tokens` and wants `ids`: a shorter beginning would need still older positions. */
  #reach(ids: readonly number[], tokens: readonly number[], lowest: readonly number[]): number {
    const at = commonLength(ids, tokens)
    return this.#reaches(at, lowest) ? at : 0
  }

  /** Copies the rings if this is the last moment for one of the marks. */
  #copyInTime(from: number, lowest: readonly number[]): void {
    // Behind `from` the other slots are written anew, so that rings alone would be of no use.
    const alone = this.rings.length === this.kept.length
    const useful = this.#marks.filter(({ at }) => (at <= from || alone) && this.#reaches(at, this.#lowest))
    this.#marks = useful
    if (useful.every(({ at }) => at <= from && this.#reaches(at, lowest))) return
    const passing = useful.every((mark) => mark.passing)
    this.#copies.take({ lowest: this.#lowest, end: this.#end, passing })
    this.#marks = []
  }

  /** The sequence has come to its end: gives the copies that were taken on its way their tokens. */
  #settle(): void {
    for (const copy of this.#copies.all) copy.tokens ??= this.#tokens.slice(0, copy.end)
  }

  /** Forgets the tokens from position `from` on. */
  #cut(from: number): void {
    this.#settle()
    this.#tokens.length = from
    if (this.rings.length === this.kept.length) return
    // Copies hold the rings only, and what else there was of later tokens is about to be overwritten.
    for (const copy of this.#copies.all) {
      copy.tokens = copy.tokens!.slice(0, from)
      const at = copy.tokens.length
      if (at === 0 || !this.#reaches(at, copy.lowest)) this.#copies.drop(copy)
    }
  }
}

/** The first position that a token at position `at` sees. */
export function firstSeen(at: number, window: number | null): number {
  return window === null ? 0 : Math.max(0, at - window + 1)
}

/** How many tokens two sequences begin with alike. */
export function commonLength(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length)
  let at = 0
  while (at < most && a[at] === b[at]) at++
  return at
}
