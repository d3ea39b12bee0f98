import type { CompletionRecord } from "../train/records.ts"
import type { Wanted } from "./evaluate.ts"
import type { MakeContext } from "./task.ts"

/** What instances are made with when they are to be learnt. */
export interface ExampleOptions extends Pick<MakeContext, "model" | "data"> {
  /** Of which instances there are: another one than a model is measured with. */
  readonly seed: number
}

/**
 * Instances as records to learn from: the prompt as plain text, and what the task looks for as its completion.
 *
 * @throws {RangeError} for a task whose instances have no answer, or do not fit their length
 */
export async function* examples(
  wanted: readonly Wanted[],
  { model, data, seed }: ExampleOptions,
): AsyncGenerator<CompletionRecord, void, undefined> {
  for (const { task, request: asked } of wanted) {
    const request = { ...task.defaults, ...asked, seed }
    for (const plan of await task.plan(request, data)) {
      const instance = await task.make(plan, { model, data, format: "text", request })
      if (instance.kind !== "answer") {
        throw new RangeError(`${task.name}: instances are of kind ${instance.kind}, expected answer`)
      }
      yield { prompt: instance.text, completion: ` ${instance.refs.join(", ")}` }
    }
  }
}
