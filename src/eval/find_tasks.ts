import type { Task } from "./task.ts"
import { TASKS } from "./tasks/index.ts"

/**
 * The task of a name, or all tasks whose names begin with it and an underscore: `niah` is all kinds of needles.
 *
 * @throws {RangeError} for a name that stands for none
 */
export function findTasks(name: string): readonly Task[] {
  const exact = TASKS.find((task) => task.name === name)
  const found = exact ? [exact] : TASKS.filter((task) => task.name.startsWith(`${name}_`))
  if (found.length > 0) return found
  throw new RangeError(`task: is ${JSON.stringify(name)}, expected one of ${TASKS.map((task) => task.name).join(", ")}`)
}
