import { type Bytes, bytes, choice, literal, type Node, sequence } from "./node.ts"

/** Code points `[from, to]`, both included. */
export type Range = readonly [from: number, to: number]

const LAST = 0x10ffff
/** Halves of pairs in UTF-16: no characters, and not to be had in UTF-8. */
const SURROGATES: Range = [0xd800, 0xdfff]

/** Sorted, joined where they touch, without surrogates. */
export function normalised(ranges: readonly Range[]): Range[] {
  const joined: [number, number][] = []
  for (const [from, to] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const last = joined.at(-1)
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to)
    else joined.push([from, to])
  }
  return joined.flatMap(([from, to]): Range[] => {
    const around: Range[] = [
      [from, Math.min(to, SURROGATES[0] - 1)],
      [Math.max(from, SURROGATES[1] + 1), to],
    ]
    return around.filter(([first, last]) => first <= last)
  })
}

/** All characters but these. */
export function complement(ranges: readonly Range[]): Range[] {
  const gaps: Range[] = []
  let next = 0
  for (const [from, to] of normalised(ranges)) {
    if (next < from) gaps.push([next, from - 1])
    next = to + 1
  }
  if (next <= LAST) gaps.push([next, LAST])
  return normalised(gaps)
}

/** One character of the ranges in UTF-8. */
export function utf8(ranges: readonly Range[]): Node {
  const parts = normalised(ranges).flatMap(([from, to]) => split(from, to))
  const single = parts.filter((part) => part.length === 1).map((part) => part[0]!)
  const longer = parts.filter((part) => part.length > 1)
  const sets = longer.map((part) => sequence(...part.map((range): Bytes => bytes(range))))
  return choice(...(single.length > 0 ? [bytes(...single)] : []), ...sets)
}

/** The largest code points of one, two, three and four bytes. */
const LAST_OF_LENGTH = [0x7f, 0x7ff, 0xffff, LAST]

/**
 * Ranges of code points as sequences of ranges of bytes: each has one length, and in each a byte's range does not depend on the
 * bytes before it.
 */
function split(from: number, to: number): Range[][] {
  const length = LAST_OF_LENGTH.findIndex((last) => from <= last)
  const last = LAST_OF_LENGTH[length]!
  if (to > last) return [...split(from, last), ...split(last + 1, to)]
  for (let i = 1; i <= length; i++) {
    const low = 2 ** (6 * i) - 1 // what the last i bytes hold
    if ((from & ~low) === (to & ~low)) continue
    if ((from & low) !== 0) return [...split(from, from | low), ...split((from | low) + 1, to)]
    if ((to & low) !== low) return [...split(from, (to & ~low) - 1), ...split(to & ~low, to)]
  }
  const [first, end] = [encode(from), encode(to)]
  return [first.map((byte, i): Range => [byte, end[i]!])]
}

function encode(codePoint: number): number[] {
  return [...new TextEncoder().encode(String.fromCodePoint(codePoint))]
}

/** What a JSON string cannot hold as it is. */
const ESCAPED: readonly Range[] = [
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]

/** One character of the ranges as JSON.stringify writes it within a string. */
export function jsonCharacter(ranges: readonly Range[]): Node {
  const wanted = normalised(ranges)
  const plain = intersection(wanted, complement(ESCAPED))
  const escaped = intersection(wanted, ESCAPED).flatMap(([from, to]) =>
    Array.from({ length: to - from + 1 }, (_, i) => literal(inString(String.fromCharCode(from + i)))),
  )
  return choice(...(plain.length > 0 ? [utf8(plain)] : []), ...escaped)
}

/** A text as it stands within a JSON string, without the quotes. */
export function inString(text: string): string {
  return JSON.stringify(text).slice(1, -1)
}

export function intersection(a: readonly Range[], b: readonly Range[]): Range[] {
  return a.flatMap(([from, to]) =>
    b
      .map(([first, last]): Range => [Math.max(from, first), Math.min(to, last)])
      .filter(([first, last]) => first <= last),
  )
}
