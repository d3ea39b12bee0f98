import type { Run } from "./run.ts"
import { type SampleState, sample } from "./sample.ts"
import { sample_along as kernel } from "./shaders.ts"
import { expectDtype, expectShape } from "./shape.ts"
import { format, type Tensor } from "./tensor.ts"

/**
 * Draws what comes after each of n tokens that follow one another in a sequence: after row r what `sample` would draw had it drawn
 * tokens 1 to r before. The noise is that of the row's position, so a token that was drawn ahead of its turn is the one that
 * would have been drawn in turn, if the logits are the same. The sequence's own state stays as it is.
 *
 * @param logits `[n, V]`
 * @param ids    `[n]`, u32: the token at the sequence's position and those behind it
 * @param state  of the one sequence
 * @param rows   a state of n sequences or more, which is overwritten: row r of its `ids` becomes the token drawn after row r
 */
export function sampleAlong(
  run: Run,
  logits: Tensor,
  ids: Tensor,
  { settings, seen, cursor }: Pick<SampleState, "settings" | "seen" | "cursor">,
  rows: SampleState,
): void {
  const [n = 0] = ids.shape
  const words = seen.shape[1] ?? 0
  expectShape("sampleAlong", "seen", seen, [1, words])
  expectShape("sampleAlong", "ids", ids, [n])
  expectDtype("sampleAlong", "ids", ids, "u32")
  if (logits.shape[0] !== n) {
    throw new RangeError(`sampleAlong: logits is ${format(logits.shape)}, expected ${n} rows as there are ids`)
  }
  const known = rows.seen.shape
  if (known[0]! < n || known[1] !== words) {
    throw new RangeError(`sampleAlong: rows is of ${format(known)}, expected at least ${n} rows of ${words}`)
  }
  const written = { settings_rows: rows.settings, seen_rows: rows.seen, cursor_rows: rows.cursor }
  run.dispatch(kernel, { ids, settings, seen, cursor, ...written }, { words }, [Math.ceil(Math.max(8, words) / 64), n])
  sample(run, logits, rows)
}
