import { isObject, show } from "../model/keys.ts"
import type { TaskRequest } from "./task.ts"

/** A task of a suite, by a name that may stand for several, and what is asked of it. */
export interface SuiteTask extends Pick<TaskRequest, "lengths" | "depths" | "samples"> {
  readonly task: string
}

/** Tasks that belong together, with their settings. */
export interface Suite {
  readonly summary: string
  readonly tasks: readonly SuiteTask[]
}

const KEYS = ["task", "lengths", "depths", "samples"]

/**
 * The suite of a JSON file: `{ "summary", "tasks": [{ "task", "lengths", "depths", "samples" }] }`.
 *
 * @throws {SyntaxError} naming the first thing that is not as expected
 */
export function parseSuite(text: string, name: string): Suite {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new SyntaxError(`${name}: suite is no JSON, expected { "summary", "tasks" }`, { cause: error })
  }
  if (!isObject(value)) throw bad(name, value, "an object")
  const { summary = "", tasks } = value
  if (typeof summary !== "string") throw bad(`${name}: summary`, summary, "a text")
  if (!Array.isArray(tasks) || tasks.length === 0) throw bad(`${name}: tasks`, tasks, "a list of at least one")
  return { summary, tasks: tasks.map((task, i) => parseTask(task, `${name}: tasks[${i}]`)) }
}

function parseTask(value: unknown, at: string): SuiteTask {
  if (!isObject(value)) throw bad(at, value, "an object")
  const { task, lengths, depths, samples } = value
  const unknown = Object.keys(value).find((key) => !KEYS.includes(key))
  if (unknown !== undefined) throw bad(`${at}: key`, unknown, KEYS.join(", "))
  if (typeof task !== "string") throw bad(`${at}.task`, task, "a task's name")
  return {
    task,
    ...(lengths !== undefined && { lengths: numbers(lengths, `${at}.lengths`, isCount) }),
    ...(depths !== undefined && { depths: numbers(depths, `${at}.depths`, isDepth) }),
    ...(samples !== undefined && { samples: numbers([samples], `${at}.samples`, isCount)[0]! }),
  }
}

function numbers(value: unknown, at: string, isValid: (each: unknown) => each is number): number[] {
  if (!Array.isArray(value) || value.length === 0) throw bad(at, value, "a list of numbers")
  for (const each of value) if (!isValid(each)) throw bad(at, each, "numbers that can be")
  return value
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1
}

function isDepth(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value <= 100
}

function bad(at: string, value: unknown, expected: string): SyntaxError {
  return new SyntaxError(`${at} is ${show(value)}, expected ${expected}`)
}
