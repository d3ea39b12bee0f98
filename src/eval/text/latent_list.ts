import type { Random } from "../../train/random.ts"
import { below, pick } from "./draw.ts"
import {
  answerOf,
  drawOperation,
  execute,
  type ListProgram,
  listNumber,
  type Operation,
  perform,
  type View,
} from "./list_program.ts"

const VIEWS = ["print", "sum", "min", "max", "len"] as const
const STARTS = 6

/** How often operations without effect are replaced before another program is drawn. */
const ROUNDS = 40

/**
 * A program whose operations all count: without any one of them the answer would be another, or Python would raise an error.
 *
 * @param count operations, beside the list's definition
 */
export function drawProgram(random: Random, count: number): ListProgram {
  const of = pick(random, VIEWS)
  for (;;) {
    const start = Array.from({ length: STARTS }, () => listNumber(random))
    const program = repaired(random, start, drawOperations(random, start, count), of)
    if (program) return program
  }
}

/** Redraws the operations from the first without effect on, until there is none. */
function repaired(
  random: Random,
  start: readonly number[],
  operations: readonly Operation[],
  of: View["of"],
): ListProgram | undefined {
  let now = operations
  for (let round = 0; round < ROUNDS; round++) {
    const list = execute(start, now)!
    if (list.length < 2) return undefined
    const program = { start, operations: now, view: drawView(random, list.length, of) }
    const idle = idleOperations(program)
    if (idle.length === 0) return program
    const from = pick(random, idle)
    const kept = now.slice(0, from)
    const before = execute(start, kept)!
    now = fitting(random, start, kept, now.slice(from + 1)) ?? [
      ...kept,
      ...drawOperations(random, before, now.length - from),
    ]
  }
  return undefined
}

/** The operations with another in the middle, if those behind it can still be done. */
function fitting(
  random: Random,
  start: readonly number[],
  before: readonly Operation[],
  after: readonly Operation[],
): Operation[] | undefined {
  const operations = [...before, drawOperation(random, execute(start, before)!), ...after]
  return execute(start, operations) ? operations : undefined
}

function drawOperations(random: Random, start: readonly number[], count: number): Operation[] {
  const list = [...start]
  return Array.from({ length: count }, () => {
    const operation = drawOperation(random, list)
    perform(list, operation)
    return operation
  })
}

/** A slice of one to four elements. */
function drawView(random: Random, length: number, of: View["of"]): View {
  const size = Math.min(1 + below(random, 4), length)
  const from = below(random, length - size + 1)
  return of === "len" ? { of, from: 0, to: length } : { of, from, to: from + size }
}

/** The places of operations that can be left out without a change of the answer. */
export function idleOperations({ start, operations, view }: ListProgram): number[] {
  const answer = answerOf(execute(start, operations), view)
  return operations.flatMap((_, i) => {
    const without = operations.filter((_, j) => j !== i)
    return answerOf(execute(start, without), view) === answer ? [i] : []
  })
}
