/** A stretch of `b` that is to be matched against a stretch of `a`; both half-open. */
type Ranges = readonly [aFrom: number, aTo: number, bFrom: number, bTo: number]

/** From this length on, characters that are frequent in the second text begin no match. */
const POPULARITY_LENGTH = 200

/**
 * How alike two texts are, in [0, 1]: `2 M / (|a| + |b|)`, where M characters lie in matches that are found by taking the longest
 * common stretch and then doing the same left and right of it (Ratcliff & Metzener 1988). The same number, to the bit, as
 * `SequenceMatcher(None, a, b).ratio()` of Python's difflib, its popularity rule included: if `b` has at least 200 characters, those
 * that make up more than 1 % of it (and one) begin no match, they only prolong one. Characters are code points, as in Python.
 *
 * @param autojunk whether the popularity rule holds, as in Python
 */
export function similarity(a: string, b: string, { autojunk = true } = {}): number {
  const left = Array.from(a)
  const right = Array.from(b)
  const length = left.length + right.length
  if (length === 0) return 1
  return (2 * matched(left, right, places(right, autojunk))) / length
}

/** Where each character is in the text, in rising order, without the characters that are too frequent. */
function places(text: readonly string[], autojunk: boolean): Map<string, number[]> {
  const places = new Map<string, number[]>()
  for (const [i, character] of text.entries()) {
    const known = places.get(character)
    if (known) known.push(i)
    else places.set(character, [i])
  }
  if (!autojunk || text.length < POPULARITY_LENGTH) return places
  const most = Math.floor(text.length / 100) + 1
  for (const [character, found] of places) if (found.length > most) places.delete(character)
  return places
}

function matched(a: readonly string[], b: readonly string[], places: ReadonlyMap<string, readonly number[]>): number {
  const open: Ranges[] = [[0, a.length, 0, b.length]]
  // Lengths of the matches that end at a place of b, for the last character of a and for this one.
  const rows: [Uint32Array, Uint32Array] = [new Uint32Array(b.length + 1), new Uint32Array(b.length + 1)]
  let sum = 0
  for (let ranges = open.pop(); ranges; ranges = open.pop()) {
    const [aFrom, aTo, bFrom, bTo] = ranges
    const [i, j, size] = longestMatch(a, b, places, ranges, rows)
    if (size === 0) continue
    sum += size
    if (aFrom < i && bFrom < j) open.push([aFrom, i, bFrom, j])
    if (i + size < aTo && j + size < bTo) open.push([i + size, aTo, j + size, bTo])
  }
  return sum
}

/** The longest match inside the ranges, of several the first in a, of those the first in b. */
function longestMatch(
  a: readonly string[],
  b: readonly string[],
  places: ReadonlyMap<string, readonly number[]>,
  [aFrom, aTo, bFrom, bTo]: Ranges,
  rows: [Uint32Array, Uint32Array],
): [i: number, j: number, size: number] {
  let [i, j, size] = [aFrom, bFrom, 0]
  let [last, now] = rows
  for (let at = aFrom; at < aTo; at++) {
    for (const place of places.get(a[at]!) ?? []) {
      if (place < bFrom) continue
      if (place >= bTo) break
      const length = last[place]! + 1 // the row is shifted by one, so that the place before is at the same index
      now[place + 1] = length
      if (length > size) [i, j, size] = [at - length + 1, place - length + 1, length]
    }
    if (at > aFrom) clear(last, places.get(a[at - 1]!), bFrom, bTo)
    const other = last
    last = now
    now = other
  }
  if (aTo > aFrom) clear(last, places.get(a[aTo - 1]!), bFrom, bTo)
  while (i > aFrom && j > bFrom && a[i - 1] === b[j - 1]) [i, j, size] = [i - 1, j - 1, size + 1]
  while (i + size < aTo && j + size < bTo && a[i + size] === b[j + size]) size++
  return [i, j, size]
}

function clear(row: Uint32Array, places: readonly number[] | undefined, from: number, to: number): void {
  for (const place of places ?? []) if (place >= from && place < to) row[place + 1] = 0
}
