import { type Example, hasTarget } from "./examples.ts"

/**
 * How examples become rows of at most `context` tokens:
 *
 * - `documents`: whole examples one behind another, in order, as many as fit; they do not see each other. One longer than
 *   a row is cut into pieces of a row, each of which begins without knowing what came before;
 * - `stream`: all tokens as one text, cut into rows of exactly `context` tokens, one segment each; what is left when the
 *   examples end is dropped;
 * - `none`: one example a row; what goes beyond the row is dropped.
 */
export type Packing = "documents" | "stream" | "none"

export const PACKINGS: readonly Packing[] = ["documents", "stream", "none"]

/** Segments that do not see each other. */
export type Row = readonly Example[]

/** What was left out. */
export interface Losses {
  /** Examples, or pieces of examples or of a stream, without anything to predict. */
  dropped: number
  /** Examples cut short. */
  truncated: number
}

/** The row being filled. */
export interface Packer {
  /** Pieces still to be placed. */
  waiting: Example[]
  row: Example[]
}

/** Cuts an example into pieces and queues those with anything to predict. */
export function enqueue(packer: Packer, example: Example, packing: Packing, context: number, losses: Losses): void {
  if (packing === "stream") {
    if (hasTarget(example)) packer.waiting.push(example)
    else losses.dropped++
    return
  }
  const pieces = packing === "none" ? [cut(example, 0, context)] : cuts(example, context)
  if (packing === "none" && example.ids.length > context) losses.truncated++
  for (const piece of pieces) {
    if (hasTarget(piece)) packer.waiting.push(piece)
    else losses.dropped++
  }
}

/** Places waiting pieces until a row is full; undefined when more are needed. */
export function nextRow(packer: Packer, packing: Packing, context: number): Row | undefined {
  for (let piece = packer.waiting[0]; piece; piece = packer.waiting[0]) {
    if (packing === "none") return [packer.waiting.shift()!]
    const room = context - length(packer.row)
    if (packing === "stream") {
      const rest = piece.ids.length - room
      packer.row = [joined([...packer.row, cut(piece, 0, room)])]
      packer.waiting.splice(0, 1, ...(rest > 0 ? cuts(cut(piece, room), context) : []))
    } else if (piece.ids.length <= room) {
      packer.row.push(packer.waiting.shift()!)
    } else {
      return takeRow(packer)
    }
    if (length(packer.row) === context) return takeRow(packer)
  }
  return undefined
}

/** What is left when the examples end: a last row of documents, but no half row of a stream. */
export function lastRow(packer: Packer, packing: Packing): Row | undefined {
  const row = takeRow(packer)
  return packing === "documents" && row.length > 0 ? row : undefined
}

function takeRow(packer: Packer): Row {
  const { row } = packer
  packer.row = []
  return row
}

function length(row: Row): number {
  return row.reduce((sum, { ids }) => sum + ids.length, 0)
}

function cut({ ids, labels }: Example, start: number, end?: number): Example {
  return { ids: ids.slice(start, end), labels: labels.slice(start, end) }
}

/** Pieces of at most `size` tokens. */
function cuts(example: Example, size: number): Example[] {
  if (example.ids.length <= size) return [example]
  return Array.from({ length: Math.ceil(example.ids.length / size) }, (_, i) => cut(example, i * size, (i + 1) * size))
}

function joined(examples: readonly Example[]): Example {
  if (examples.length === 1) return examples[0]!
  return { ids: examples.flatMap(({ ids }) => ids), labels: examples.flatMap(({ labels }) => labels) }
}
