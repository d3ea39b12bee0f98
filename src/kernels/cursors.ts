import { expectDtype } from "./shape.ts"
import { format, type Tensor } from "./tensor.ts"

/** The position of a row that has no sequence: nothing is computed for it, and nothing of what is kept changes. */
export const NO_POSITION = 0xffffffff

/**
 * Refuses a cursor that does not say where each of B sequences stands.
 *
 * @param cursor `[B or more, 2]`, u32: a position, and a count that kernels do not use
 */
export function expectCursors(op: string, cursor: Tensor, B: number): void {
  const [rows = 0, columns] = cursor.shape
  if (cursor.shape.length !== 2 || rows < B || columns !== 2) {
    throw new RangeError(`${op}: cursor is ${format(cursor.shape)}, expected [${B} or more, 2]`)
  }
  expectDtype(op, "cursor", cursor, "u32")
}
