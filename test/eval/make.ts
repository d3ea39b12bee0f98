import type { Instance, MakeContext, Plan, Task } from "../../src/eval/task.ts"
import { TASKS } from "../../src/eval/tasks/index.ts"
import { storyteller } from "../helpers/stories.ts"
import { packageData } from "./package_data.ts"

const tokenizer = storyteller()

export function taskOf(name: string): Task {
  return TASKS.find((task) => task.name === name)!
}

export interface Wish {
  readonly lengths?: readonly number[]
  readonly depths?: readonly number[]
  readonly samples?: number
  readonly seed?: number
  readonly maxTokens?: number
}

/** All instances of what is asked for, of storyteller's tokens and the package's data unless `other` says otherwise. */
export async function make(
  task: Task,
  { seed = 1, ...wish }: Wish,
  other: Partial<MakeContext> = {},
): Promise<{ plan: Plan; instance: Instance }[]> {
  const request = { seed, ...wish }
  const model = { name: "any", context: 2 ** 16, tokenizer }
  const context = { model, data: packageData, format: undefined, ...other, request }
  const plans = await task.plan(request, context.data)
  return await Promise.all(plans.map(async (plan) => ({ plan, instance: await task.make(plan, context) })))
}
