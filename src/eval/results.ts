import { isObject, show } from "../model/keys.ts"
import type { PositionBucket, TaskRequest } from "./task.ts"

/** Scores of the same instance without a model, where the task has such. */
export interface BaselineScores {
  readonly empty: number
  readonly echo: number
  readonly random: number
}

/** What became of one instance: a line of `results.jsonl`. */
export interface ResultLine {
  /** Of the run: what must be the same for two results to be of the same. */
  readonly run: string
  readonly task: string
  readonly id: string
  readonly group: string
  readonly length?: number
  readonly depth?: number
  readonly sample: number
  readonly promptTokens: number
  readonly answerTokens: number
  /** Missing where the instance could not be run. */
  readonly score?: number
  readonly parts?: Readonly<Record<string, number>>
  readonly positions?: readonly PositionBucket[]
  readonly baselines?: BaselineScores
  readonly answer?: string
  readonly refs?: readonly string[]
  readonly meta: Readonly<Record<string, unknown>>
  readonly ms: number
  /** Tokens of the prompt that were computed, and those that the cache had of the instance before. */
  readonly prefillTokens?: number
  readonly reusedTokens?: number
  readonly device: string
  readonly version: string
  /** Why it could not be run, in words. */
  readonly trouble?: string
}

/** A line of `prompts.jsonl`: what people read of an instance. */
export interface PromptLine {
  readonly task: string
  readonly id: string
  readonly text: string
}

/** What must be the same for results to belong to one run. JSON. */
export interface RunIdentity {
  readonly model: { readonly name: string; readonly hash: string }
  /** Of the adapters that are on, in one hash; none without. */
  readonly adapters: { readonly names: readonly string[]; readonly hash: string } | null
  /** How the model computes: types of weights and cache. */
  readonly settings: Readonly<Record<string, unknown>>
  readonly format: "chat" | "text" | "auto"
  readonly seed: number
  /** What the user asked for in the place of each task's own. */
  readonly maxTokens: number | null
}

/** `run.json`: a run, and what was asked of it so far. */
export interface RunFile {
  readonly format: typeof RUN_FORMAT
  readonly version: typeof RUN_VERSION
  /** A hash of the identity. */
  readonly id: string
  readonly identity: RunIdentity
  /** Hashes of the data that its tasks read. */
  readonly data: Readonly<Record<string, string>>
  readonly tasks: readonly { readonly name: string; readonly request: TaskRequest }[]
  readonly gemlet: string
  readonly device: string
  /** ISO 8601. */
  readonly started: string
}

export const RUN_FORMAT = "gemlet-eval"
export const RUN_VERSION = 1

/** What a file of results has. */
export interface ReadLines<T> {
  readonly lines: readonly T[]
  /** Lines that could not be read, with what is wrong. */
  readonly damaged: readonly { readonly number: number; readonly text: string; readonly why: string }[]
}

/** Reads JSON lines that were appended one by one: a process that was killed leaves half a line at the end. */
export function readLines<T>(text: string, name: string, check: (value: unknown, where: string) => T): ReadLines<T> {
  const lines: T[] = []
  const damaged: { number: number; text: string; why: string }[] = []
  for (const [i, line] of text.split("\n").entries()) {
    if (line === "") continue
    const where = `${name}:${i + 1}`
    try {
      lines.push(check(JSON.parse(line), where))
    } catch (error) {
      const why = error instanceof TypeError ? error.message : `${where}: line is no JSON, expected a result`
      damaged.push({ number: i + 1, text: line, why })
    }
  }
  return { lines, damaged }
}

/** @throws {TypeError} naming the first field that is not as expected */
export function checkResult(value: unknown, where: string): ResultLine {
  if (!isObject(value)) throw new TypeError(`${where}: line is ${show(value)}, expected a result`)
  for (const key of ["run", "task", "id", "group", "device", "version"]) expectType(value, key, "string", where)
  for (const key of ["sample", "promptTokens", "answerTokens", "ms"]) expectType(value, key, "number", where)
  if (value.score === undefined) expectType(value, "trouble", "string", where)
  else expectType(value, "score", "number", where)
  for (const key of ["length", "depth"]) if (value[key] !== undefined) expectType(value, key, "number", where)
  if (!isObject(value.meta)) throw new TypeError(`${where}: meta is ${show(value.meta)}, expected an object`)
  for (const key of ["answer", "trouble"]) if (value[key] !== undefined) expectType(value, key, "string", where)
  for (const key of ["parts", "baselines"]) expectNumbers(value, key, where)
  expectList(value, "refs", where, (each) => typeof each === "string", "texts")
  expectList(value, "positions", where, isBucket, "buckets of positions")
  return value as unknown as ResultLine
}

function isBucket(value: unknown): boolean {
  return isObject(value) && ["from", "to", "tokens"].every((key) => typeof value[key] === "number")
}

function expectNumbers(value: Record<string, unknown>, key: string, where: string): void {
  const found = value[key]
  const isNumber = (each: unknown) => typeof each === "number" || each === null // as JSON has what is not finite
  if (found === undefined || (isObject(found) && Object.values(found).every(isNumber))) return
  throw new TypeError(`${where}: ${key} is ${show(found)}, expected an object of numbers`)
}

function expectList(
  value: Record<string, unknown>,
  key: string,
  where: string,
  isItem: (item: unknown) => boolean,
  expected: string,
): void {
  const found = value[key]
  if (found === undefined || (Array.isArray(found) && found.every(isItem))) return
  throw new TypeError(`${where}: ${key} is ${show(found)}, expected a list of ${expected}`)
}

/** @throws {TypeError} naming the first field that is not as expected */
export function checkPrompt(value: unknown, where: string): PromptLine {
  if (!isObject(value)) throw new TypeError(`${where}: line is ${show(value)}, expected a prompt`)
  for (const key of ["task", "id", "text"]) expectType(value, key, "string", where)
  return value as unknown as PromptLine
}

/** @throws {SyntaxError} for a file that is none of a run's, or of another version */
export function parseRun(text: string, name: string): RunFile {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new SyntaxError(`${name}: file is no JSON, expected a run`, { cause: error })
  }
  if (!isObject(value) || value.format !== RUN_FORMAT || value.version !== RUN_VERSION) {
    const is = isObject(value) ? `format ${show(value.format)}, version ${show(value.version)}` : show(value)
    throw new SyntaxError(`${name}: file is ${is}, expected format "${RUN_FORMAT}", version ${RUN_VERSION}`)
  }
  if (
    typeof value.id !== "string" ||
    !isObject(value.identity) ||
    !isObject(value.data) ||
    !Array.isArray(value.tasks)
  ) {
    throw new SyntaxError(`${name}: id, identity, data or tasks are missing, expected all of them`)
  }
  return value as unknown as RunFile
}

function expectType(value: Record<string, unknown>, key: string, type: "string" | "number", where: string): void {
  if (typeof value[key] === type) return
  throw new TypeError(`${where}: ${key} is ${show(value[key])}, expected a ${type}`)
}
