import { accumulate } from "./accumulate.ts"
import { add } from "./add.ts"
import type { Run } from "./run.ts"
import { type Matrix, type Storage, sizeOf, type Tensor, view } from "./tensor.ts"

/** What a gradient is taken with respect to; the gradient has the same form and shape, in f32. */
export type Variable = Tensor | Matrix

/**
 * What an op passes back: each input beside the gradient with respect to it. As weights are large, an op adds a matrix's
 * gradient onto what `sums` gives, in place; where that is nothing, the gradient is a new matrix.
 */
export type Backward = (
  dy: Tensor,
  sums: (weight: Matrix) => Matrix | undefined,
) => readonly (readonly [input: Tensor, dx: Tensor] | readonly [input: Matrix, dweight: Matrix])[]

/** The gradients of the matrices that are wanted, as far as they are known. */
type Sums = Map<Matrix, Matrix | undefined>

/**
 * Remembers how each op's output came about, so that gradients can be recorded on the same run after it. Ops record the
 * gradients of all their inputs; those that nobody asks for are dropped when the run is planned.
 */
export class Tape {
  readonly #entries: { readonly output: Tensor; readonly backward: Backward }[] = []
  #sums: Sums = new Map()

  record(output: Tensor, backward: Backward): void {
    this.#entries.push({ output, backward })
  }

  /**
   * Records the gradients of `sum(y * dy)`.
   *
   * @param onto for each variable what its gradient is added onto, in place; where there is none the gradient is new
   * @returns    one per variable, `undefined` where y does not depend on it and `onto` has nothing
   */
  gradients(
    run: Run,
    y: Tensor,
    dy: Tensor,
    wrt: readonly Variable[],
    onto: readonly (Variable | undefined)[] = [],
  ): (Variable | undefined)[] {
    this.#sums = new Map(wrt.flatMap((x, i) => (isMatrix(x) ? [[x, onto[i] as Matrix | undefined]] : [])))
    const known = this.#walk(run, y, dy)
    return wrt.map((x, i) => {
      if (isMatrix(x)) return this.#sums.get(x)
      const sum = onto[i] as Tensor | undefined
      const gradient = known.of(x)
      if (sum && gradient) accumulate(run, sum, gradient)
      const result = sum ?? gradient
      return result && view(result, x.shape)
    })
  }

  /**
   * Records a part of the way again, and its gradients: for results that were not kept (gradient checkpointing, Chen et al.,
   * arXiv:1604.06174). To be called from a backward on this tape.
   *
   * @param again records the part anew and gives its output
   * @returns     what it passes back to the tensors that come into it
   */
  recompute(run: Run, again: () => Tensor, dy: Tensor): (readonly [input: Tensor, dx: Tensor])[] {
    const tape = new Tape()
    tape.#sums = this.#sums
    const known = tape.#walk(run, run.on(tape, again), dy)
    const inside = new Set(tape.#entries.map(({ output }) => output.storage))
    return known.all.filter(([x]) => !inside.has(x.storage))
  }

  /** Records what the entries pass back, from the last to the first; gives the gradient of every tensor on the way. */
  #walk(run: Run, y: Tensor, dy: Tensor): Gradients {
    const sums = (weight: Matrix) => this.#sums.get(weight)
    const known = new Gradients()
    known.add(run, y, dy)
    for (const { output, backward } of this.#entries.toReversed()) {
      const gradient = known.of(output)
      if (!gradient) continue
      for (const [input, dx] of backward(view(gradient, output.shape), sums)) {
        if (isMatrix(input) || isMatrix(dx)) {
          if (this.#sums.has(input as Matrix)) this.#sums.set(input as Matrix, dx as Matrix)
          continue
        }
        known.add(run, input, dx)
      }
    }
    return known
  }
}

/** Gradients with respect to tensors. Views of the same elements share one; slices of a storage do not. */
class Gradients {
  readonly #known = new Map<Storage, Map<number, readonly [x: Tensor, dx: Tensor]>>()

  of({ storage, byteOffset }: Tensor): Tensor | undefined {
    return this.#known.get(storage)?.get(byteOffset)?.[1]
  }

  add(run: Run, x: Tensor, dx: Tensor): void {
    const before = this.of(x)
    const slices = this.#known.get(x.storage) ?? new Map()
    this.#known.set(x.storage, slices.set(x.byteOffset, [x, before ? sum(run, before, dx) : dx]))
  }

  get all(): (readonly [x: Tensor, dx: Tensor])[] {
    return [...this.#known.values()].flatMap((slices) => [...slices.values()])
  }
}

function isMatrix(x: Variable): x is Matrix {
  return "parts" in x
}

function sum(run: Run, a: Tensor, b: Tensor): Tensor {
  const flat = [1, sizeOf(a.shape)] // add() takes rows, a gradient may be of any shape
  return view(add(run, view(a, flat), view(b, flat)), a.shape)
}
