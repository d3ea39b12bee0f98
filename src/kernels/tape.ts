import { add } from "./add.ts"
import type { Run } from "./run.ts"
import { format, type Matrix, type Storage, sizeOf, type Tensor, view } from "./tensor.ts"

/** What a gradient is taken with respect to; the gradient has the same form and shape, in f32. */
export type Variable = Tensor | Matrix

/** Gradients that an op passes back: each input beside the gradient with respect to it. */
export type Backward = (
  dy: Tensor,
) => readonly (readonly [input: Tensor, dx: Tensor] | readonly [input: Matrix, dx: Matrix])[]

/**
 * Remembers how each op's output came about, so that gradients can be recorded on the same run after it. Ops record the
 * gradients of all their inputs; those that nobody asks for are dropped when the run is planned.
 */
export class Tape {
  readonly #entries: { readonly output: Tensor; readonly backward: Backward }[] = []

  record(output: Tensor, backward: Backward): void {
    this.#entries.push({ output, backward })
  }

  /**
   * Records the gradients of `sum(y * dy)`.
   *
   * @returns one per variable, `undefined` where y does not depend on it
   */
  gradients(run: Run, y: Tensor, dy: Tensor, wrt: readonly Variable[]): (Variable | undefined)[] {
    const known = new Map<Storage | Matrix, Variable>([[y.storage, dy]])
    for (const { output, backward } of this.#entries.toReversed()) {
      const gradient = known.get(output.storage)
      if (!gradient || isMatrix(gradient)) continue
      for (const [input, dx] of backward(view(gradient, output.shape))) {
        const key = keyOf(input)
        const before = known.get(key)
        known.set(key, before ? sum(run, before, dx) : dx)
      }
    }
    return wrt.map((variable) => {
      const gradient = known.get(keyOf(variable))
      return gradient && !isMatrix(gradient) ? view(gradient, variable.shape) : gradient
    })
  }
}

function isMatrix(x: Variable): x is Matrix {
  return "parts" in x
}

/** Views share a storage, and so a gradient. */
function keyOf(x: Variable): Storage | Matrix {
  return isMatrix(x) ? x : x.storage
}

function sum(run: Run, a: Variable, b: Variable): Variable {
  if (isMatrix(a) && isMatrix(b)) {
    const parts = a.parts.map((part, i) => ({ ...part, tensor: add(run, part.tensor, b.parts[i]!.tensor) }))
    return { ...a, parts }
  }
  if (isMatrix(a) || isMatrix(b)) {
    throw new RangeError(
      `gradients: one is a matrix ${format(a.shape)} and one a tensor ${format(b.shape)}, expected alike`,
    )
  }
  const flat = [1, sizeOf(a.shape)] // add() takes rows, a gradient may be of any shape
  return view(add(run, view(a, flat), view(b, flat)), a.shape)
}
