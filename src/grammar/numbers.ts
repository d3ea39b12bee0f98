import { bytes, choice, EMPTY, literal, NOTHING, type Node, optional, repeat, sequence } from "./node.ts"

/** Digits before the point, and behind it: what no double loses, and a model cannot go on with for ever. */
export const MOST_DIGITS = 15

/** A limit of a range. */
export interface Bound {
  readonly value: number
  readonly exclusive: boolean
}

const DIGIT = digits(0, 9)
const FIRST_DIGIT = digits(1, 9)

/** A whole number within the bounds, of at most MOST_DIGITS digits. */
export function integer(least?: Bound, most?: Bound): Node {
  const end = 10 ** MOST_DIGITS - 1
  const low = least ? Math.ceil(least.value) + (least.exclusive && Number.isInteger(least.value) ? 1 : 0) : -end
  const high = most ? Math.floor(most.value) - (most.exclusive && Number.isInteger(most.value) ? 1 : 0) : end
  return within({ value: Math.max(low, -end), exclusive: false }, { value: Math.min(high, end), exclusive: false }, 0)
}

/** Any JSON number that is finite: at most MOST_DIGITS digits before and behind the point, two in the exponent. */
export const ANY_NUMBER: Node = sequence(
  optional(literal("-")),
  choice(literal("0"), sequence(FIRST_DIGIT, repeat(DIGIT, 0, MOST_DIGITS - 1))),
  optional(sequence(literal("."), repeat(DIGIT, 1, MOST_DIGITS))),
  optional(
    sequence(bytes([0x45, 0x45], [0x65, 0x65]), optional(choice(literal("+"), literal("-"))), repeat(DIGIT, 1, 2)),
  ),
)

/**
 * A number within the bounds, without an exponent. Texts of more digits than a double holds could be read as a bound that they
 * are beyond, so a number near a bound has at most MOST_DIGITS in all.
 *
 * @returns undefined where a bound has more digits itself
 */
export function numberWithin(least: Bound | undefined, most: Bound | undefined): Node | undefined {
  const values = [least, most].flatMap((bound) => (bound ? [Math.abs(bound.value)] : []))
  const parts = values.filter((value) => value < 10 ** MOST_DIGITS).map(decimal)
  const places = MOST_DIGITS - Math.max(1, ...parts.map(({ whole }) => whole.length))
  if (parts.some(({ fraction }) => fraction.length > places)) return undefined
  const end = 10 ** MOST_DIGITS - 1
  const low = least && least.value > -end ? least : { value: -end, exclusive: false }
  const high = most && most.value < end ? most : { value: end, exclusive: false }
  return within(low, high, places)
}

function within(low: Bound, high: Bound, places: number): Node {
  const zero = { value: 0, exclusive: false }
  const options: Node[] = []
  if (low.value < 0) {
    // What is below 0 is the mirror image of what is above: -0 is left to it, as 0.
    const near = high.value < 0 ? { ...high, value: -high.value } : { value: 0, exclusive: true }
    options.push(sequence(literal("-"), magnitude(near, { ...low, value: -low.value }, places)))
  }
  if (high.value >= 0) options.push(magnitude(low.value < 0 ? zero : low, high, places))
  return choice(...options)
}

/** A decimal from `low` to `high`, neither below 0, with at most so many places behind the point. */
function magnitude(low: Bound, high: Bound, places: number): Node {
  if (low.value > high.value) return NOTHING
  const [from, to] = [decimal(low.value), decimal(high.value)]
  const options: Node[] = []
  for (let length = from.whole.length; length <= to.whole.length; length++) {
    const lowest = length === from.whole.length
    const highest = length === to.whole.length
    options.push(
      new Digits({
        length,
        low: lowest ? from.whole + from.fraction : "1".padEnd(length, "0"),
        high: highest ? to.whole + to.fraction : "9".repeat(length + places),
        openLow: lowest && low.exclusive,
        openHigh: highest && high.exclusive,
        places,
      }).from(0, true, true),
    )
  }
  return choice(...options)
}

interface DigitRange {
  /** Digits before the point, of both limits. */
  readonly length: number
  /** The limits' digits, those behind the point without zeros at the end. */
  readonly low: string
  readonly high: string
  readonly openLow: boolean
  readonly openHigh: boolean
  readonly places: number
}

/** The decimals of a range whose numbers all have as many digits before the point. */
class Digits {
  readonly #range: DigitRange
  readonly #known = new Map<string, Node>()

  constructor(range: DigitRange) {
    this.#range = range
  }

  /** What may come after `at` digits that are those of the lower limit (`onLow`), of the upper one (`onHigh`), or neither's. */
  from(at: number, onLow: boolean, onHigh: boolean): Node {
    const key = `${at} ${onLow} ${onHigh}`
    const known = this.#known.get(key)
    if (known) return known
    const { length, places } = this.#range
    const end = at >= length && this.#mayEnd(at, onLow, onHigh) ? [EMPTY] : []
    const point = at === length ? [literal(".")] : []
    const more = at < length + places ? this.#digits(at, onLow, onHigh) : []
    const node = choice(...end, ...more.map((digit) => sequence(...point, digit)))
    this.#known.set(key, node)
    return node
  }

  /** Digit `at` and what follows it. */
  #digits(at: number, onLow: boolean, onHigh: boolean): Node[] {
    const { low, high } = this.#range
    const least = onLow ? Number(low[at] ?? 0) : 0
    const most = onHigh ? Number(high[at] ?? 0) : 9
    if (least === most && onLow && onHigh) return [sequence(digits(least, least), this.from(at + 1, true, true))]
    const options: Node[] = []
    const [first, last] = [onLow ? least + 1 : least, onHigh ? most - 1 : most]
    if (onLow && least <= most) options.push(sequence(digits(least, least), this.from(at + 1, true, false)))
    if (first <= last) options.push(sequence(digits(first, last), this.from(at + 1, false, false)))
    if (onHigh && least <= most) options.push(sequence(digits(most, most), this.from(at + 1, false, true)))
    return options
  }

  #mayEnd(at: number, onLow: boolean, onHigh: boolean): boolean {
    const { low, high, openLow, openHigh } = this.#range
    if (onLow && (at < low.length || openLow)) return false // the rest of low is not zero, or the number is low
    return !(onHigh && openHigh && at >= high.length)
  }
}

function digits(from: number, to: number): Node {
  return bytes([0x30 + from, 0x30 + to])
}

/** A number's digits as the shortest decimal that is read as it, none behind the point for a whole number. */
function decimal(value: number): { whole: string; fraction: string } {
  const [mantissa = "", exponent = "0"] = value.toString().split("e")
  const [whole = "", fraction = ""] = mantissa.split(".")
  const places = Math.max(0, -Number(exponent)) // only small numbers get an exponent here
  if (places === 0) return { whole, fraction }
  return { whole: "0", fraction: "0".repeat(places - 1) + whole + fraction }
}
