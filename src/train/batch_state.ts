import { isObject, show } from "../model/keys.ts"
import type { Example } from "./examples.ts"
import type { Losses, Packer } from "./packing.ts"

/** The data and options that a state belongs to. */
export type Made = Readonly<Record<string, string | number | boolean>>

/** Counts from the beginning of training. */
export interface Total extends Losses {
  rows: number
  /** Records read, some of them perhaps waiting for their row. */
  records: number
  /** Records that the chat template refused. */
  bad: number
}

/** Where the next batch begins: plain JSON. */
export interface BatchState extends Packer {
  made: Made
  /** Finished epochs. */
  epoch: number
  /** The next record, in the order of the epoch. */
  next: number
  /** Rows of this epoch so far. */
  epochRows: number
  total: Total
}

const COUNTS = ["rows", "records", "dropped", "truncated", "bad"] as const

/** A copy of a state that came from a file, checked. */
export function checkState(value: unknown, made: Made, records: number): BatchState {
  if (!isObject(value)) throw wrong("state", value, "an object")
  if (!isObject(value.made)) throw wrong("made", value.made, "an object")
  expectSameMade(value.made, made)
  if (!isObject(value.total)) throw wrong("total", value.total, "an object")
  for (const key of COUNTS) expectCount(`total.${key}`, value.total[key])
  for (const key of ["epoch", "epochRows"]) expectCount(key, value[key])
  expectCount("next", value.next, records)
  for (const key of ["waiting", "row"]) {
    const examples = value[key]
    if (!Array.isArray(examples) || !examples.every(isExample)) throw wrong(key, examples, "examples")
  }
  return structuredClone(value) as unknown as BatchState
}

function expectSameMade(was: Record<string, unknown>, made: Made): void {
  if (was.data !== made.data) {
    throw new RangeError(`batches: state's data is ${show(was.data)}, expected ${show(made.data)} (is it other data?)`)
  }
  for (const [key, value] of Object.entries(made)) {
    if (was[key] === value) continue
    throw new RangeError(`batches: state's ${key} is ${show(was[key])}, expected ${show(value)} as in the options`)
  }
}

function expectCount(key: string, value: unknown, most = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most) return
  throw wrong(key, value, most === Number.MAX_SAFE_INTEGER ? "a whole number" : `a whole number up to ${most}`)
}

function isExample(value: unknown): value is Example {
  if (!isObject(value)) return false
  const { ids, labels } = value
  return isIntegers(ids) && isIntegers(labels) && ids.length === labels.length
}

function isIntegers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((number) => Number.isSafeInteger(number))
}

function wrong(key: string, is: unknown, expected: string): RangeError {
  return new RangeError(`batches: state's ${key} is ${show(is)}, expected ${expected}`)
}
