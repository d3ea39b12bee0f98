import { expectDtype } from "./shape.ts"
import { format, sizeOf, type Tensor } from "./tensor.ts"

/** A tensor seen as rows of `columns` elements, of which the columns `[first, first + active)` are trained. */
export interface ActiveColumns {
  readonly columns: number
  readonly first: number
  readonly active: number
}

/** Every element of a tensor, whatever its shape. */
export function allColumns(x: Tensor): ActiveColumns {
  const columns = x.shape.at(-1) ?? 1
  return { columns, first: 0, active: columns }
}

/** What a kernel over the active elements asks for, n being how many they are. */
export interface ActiveParams {
  readonly n: number
  readonly columns: number
  readonly first_column: number
  readonly active_columns: number
}

/** The parameters of a kernel over the active elements of an f32 tensor, after checking that it has such columns. */
export function activeParams(
  op: string,
  name: string,
  x: Tensor,
  { columns, first, active }: ActiveColumns,
): ActiveParams {
  expectDtype(op, name, x, "f32")
  if (!(Number.isInteger(columns) && columns > 0 && sizeOf(x.shape) % columns === 0)) {
    throw new RangeError(`${op}: ${name} is ${format(x.shape)}, expected whole rows of ${columns}`)
  }
  if (!(Number.isInteger(first) && first >= 0 && Number.isInteger(active) && active > 0 && first + active <= columns)) {
    throw new RangeError(
      `${op}: active columns of ${name} are ${first} to ${first + active}, expected a part of 0 to ${columns}`,
    )
  }
  const n = (sizeOf(x.shape) / columns) * active
  return { n, columns, first_column: first, active_columns: active }
}

/** Checks that a tensor has n f32 elements, in any shape. */
export function expectElements(op: string, name: string, x: Tensor, n: number): void {
  expectDtype(op, name, x, "f32")
  if (sizeOf(x.shape) !== n) throw new RangeError(`${op}: ${name} is ${format(x.shape)}, expected ${n} elements`)
}
