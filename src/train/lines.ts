import type { Source } from "../model/source.ts"
import { concatenate } from "./bytes.ts"

/** One line of a file, without what ends it. */
export interface Line {
  /** Counted from 1, as editors do. */
  readonly number: number
  readonly start: number
  readonly end: number
  /** Undefined for a line over the limit, which is passed over without being kept. */
  readonly bytes: Uint8Array | undefined
}

/** Files are read in pieces of this size. */
export const PIECE_BYTES = 2 ** 20

const NEWLINE = 10

/** Goes through a source once, piece by piece, and hands out its lines in order. A carriage return stays in its line. */
export async function scanLines(
  source: Source,
  limit: number,
  take: (line: Line) => void,
  seen: (piece: Uint8Array) => void,
): Promise<void> {
  let parts: Uint8Array[] = []
  let number = 1
  let start = 0
  const finish = (end: number) => {
    take({ number, start, end, bytes: end - start > limit ? undefined : concatenate(parts) })
    parts = []
    number++
    start = end + 1
  }
  for (let at = 0; at < source.byteLength; at += PIECE_BYTES) {
    const piece = new Uint8Array(await source.slice(at, Math.min(at + PIECE_BYTES, source.byteLength)))
    seen(piece)
    let from = 0
    for (let newline = piece.indexOf(NEWLINE); newline >= 0; newline = piece.indexOf(NEWLINE, from)) {
      parts.push(piece.subarray(from, newline))
      finish(at + newline)
      from = newline + 1
    }
    parts = at + piece.byteLength - start > limit ? [] : [...parts, piece.subarray(from)]
  }
  if (start < source.byteLength) finish(source.byteLength)
}

/** Text of bytes, without a byte order mark. */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    throw new SyntaxError(`${where}: text is in another encoding, expected UTF-8`)
  }
}

/** Reads ranges of sources: one that goes on where the last ended comes with a piece of what follows, others alone. */
export class RangeReader {
  #piece = new Uint8Array(0)
  #pieceStart = 0
  #pieceSource: Source | undefined
  #last: { source: Source; end: number } | undefined

  /** Bytes `[start, end)`; they are shared, not copied. */
  async read(source: Source, start: number, end: number): Promise<Uint8Array> {
    // A newline, perhaps with a carriage return or an empty line, lies between records in order.
    const gap = this.#last?.source === source ? start - this.#last.end : -1
    const goesOn = gap >= 0 && gap <= 8
    this.#last = { source, end }
    const kept = this.#kept(source, start, end)
    if (kept) return kept
    const until = goesOn ? Math.min(Math.max(end, start + PIECE_BYTES), source.byteLength) : end
    const piece = new Uint8Array(await source.slice(start, until))
    if (goesOn) {
      this.#piece = piece
      this.#pieceStart = start
      this.#pieceSource = source
    }
    return piece.subarray(0, end - start)
  }

  #kept(source: Source, start: number, end: number): Uint8Array | undefined {
    const from = start - this.#pieceStart
    const to = end - this.#pieceStart
    return source === this.#pieceSource && from >= 0 && to <= this.#piece.byteLength
      ? this.#piece.subarray(from, to)
      : undefined
  }
}
