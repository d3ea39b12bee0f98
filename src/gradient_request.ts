import type { Labelled } from "./model/loss.ts"
import type { Model } from "./model/model.ts"
import type { Parameter } from "./model/parameter.ts"

/** One sequence is a batch of one. */
export function batch(ids: readonly number[] | readonly (readonly number[])[]): readonly (readonly number[])[] {
  return typeof ids[0] === "number" || ids.length === 0
    ? [ids as readonly number[]]
    : (ids as readonly (readonly number[])[])
}

/**
 * Refuses sequences of which no loss can be taken.
 *
 * @throws {RangeError} for labels of another length or outside the vocabulary, no target at all, or more tokens than the context
 */
export function expectLabels(
  sequences: readonly Labelled[],
  { V, context }: { readonly V: number; readonly context: number },
): void {
  for (const { ids, labels } of sequences) {
    if (labels.length !== ids.length) {
      throw new RangeError(`lossAndGradients: labels has ${labels.length} entries, expected ${ids.length} as ids`)
    }
    const bad = labels.find((label) => label !== -100 && !(Number.isInteger(label) && label >= 0 && label < V))
    if (bad === undefined) continue
    throw new RangeError(`lossAndGradients: label is ${bad}, expected -100 or 0 to ${V - 1}`)
  }
  if (!sequences.some(({ labels }) => labels.some((label, t) => t > 0 && label !== -100))) {
    throw new RangeError("lossAndGradients: labels has no target, expected at least one after the first position")
  }
  const total = sequences.reduce((sum, { ids }) => sum + ids.length, 0)
  if (total <= context) return
  throw new RangeError(`lossAndGradients: batch has ${total} tokens, expected at most the context of ${context}`)
}

/**
 * The parameters of these names.
 *
 * @param names all without them
 * @throws {RangeError} for a name that there is not, or of a weight that is there in few bits only
 */
export function parametersOf(
  { packed }: Model,
  all: ReadonlyMap<string, Parameter>,
  names: readonly string[] = [...all.keys()],
): Map<string, Parameter> {
  const unknown = names.find((name) => !all.has(name))
  if (unknown === undefined) return new Map(names.map((name) => [name, all.get(name)!]))
  const expected = packed.has(unknown) ? "a weight that is there in full (load with dtype f32)" : "a parameter"
  throw new RangeError(`lossAndGradients: wrt is ${unknown}, expected ${expected} such as ${[...all.keys()][0]}`)
}
