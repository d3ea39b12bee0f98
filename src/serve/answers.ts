import type { Piece } from "../api.ts"
import type { Ask, Ending, Engine } from "./engine.ts"
import type { Life } from "./life.ts"
import { Merge } from "./merge.ts"

/** A step of a request with several answers: a piece of one, or its end. */
export type AnswerEvent =
  | { readonly index: number; readonly piece: Piece }
  | { readonly index: number; readonly ending: Ending }

/**
 * The answers of a request, as many at once as have turns; what they give comes in the order in which it is there. Each asks for its
 * turn when the one before has its own: so one of them waits at a time, and however many a request wants, others come between.
 *
 * @throws {ApiError} what the first of them meets before there is anything of any
 */
export async function* answers(
  engine: Engine,
  asks: readonly Ask[],
  life: Life,
): AsyncGenerator<AnswerEvent, void, void> {
  const enough = new AbortController()
  const signal = AbortSignal.any([life.signal, enough.signal])
  const merge = new Merge<Piece, Ending>()
  let begun = 0
  const begin = (index: number) => {
    if (index < begun || index === asks.length) return
    begun++
    merge.add(index, engine.answer(asks[index]!, life, { signal, again: index > 0, onTurn: () => begin(index + 1) }))
  }
  begin(0)
  let told = false
  try {
    for (let next = await merge.next(); next; next = await merge.next()) {
      const { index, result } = next
      if (result.done) {
        if (result.value.cut && !told) throw life.signal.reason // nothing is no answer
        begin(index + 1) // if it ended before it had a turn
        yield { index, ending: result.value }
      } else yield { index, piece: result.value }
      told = true
    }
  } finally {
    enough.abort()
    await merge.close() // answers that nobody reads must not keep their turns
  }
}
