import type { Random } from "../../train/random.ts"
import { below, pick } from "./draw.ts"

/** One statement about a list of whole numbers, with Python's meaning. Places are not negative and inside the list. */
export type Operation =
  | { readonly do: "append"; readonly value: number }
  | { readonly do: "insert"; readonly at: number; readonly value: number }
  | { readonly do: "pop"; readonly at: number }
  | { readonly do: "remove"; readonly value: number }
  | { readonly do: "sort" | "reverse" }
  | { readonly do: "nothing" }

/** What is asked in the end: of the elements `[from, to)`, or of the whole list for `len`. */
export interface View {
  readonly of: "print" | "sum" | "min" | "max" | "len"
  readonly from: number
  readonly to: number
}

/** A list, what is done to it, and what is asked of what is left. */
export interface ListProgram {
  readonly start: readonly number[]
  readonly operations: readonly Operation[]
  readonly view: View
}

const LARGEST = 4000

/** Whole numbers of [-4000, 4000], as in the paper. */
export function listNumber(random: Random): number {
  return below(random, 2 * LARGEST + 1) - LARGEST
}

/** Does one operation, or gives false where Python would raise an error. */
export function perform(list: number[], operation: Operation): boolean {
  if (operation.do === "append") list.push(operation.value)
  else if (operation.do === "insert") list.splice(operation.at, 0, operation.value)
  else if (operation.do === "pop") return list.splice(operation.at, 1).length === 1
  else if (operation.do === "remove") {
    const at = list.indexOf(operation.value)
    if (at < 0) return false
    list.splice(at, 1)
  } else if (operation.do === "sort") list.sort((a, b) => a - b)
  else if (operation.do === "reverse") list.reverse()
  return true
}

/** The list after all operations, or undefined where Python would raise an error. */
export function execute(start: readonly number[], operations: readonly Operation[]): number[] | undefined {
  const list = [...start]
  return operations.every((operation) => perform(list, operation)) ? list : undefined
}

/** What the view prints, or undefined where Python would raise an error or the slice is not all there. */
export function answerOf(list: readonly number[] | undefined, { of, from, to }: View): string | undefined {
  if (list === undefined) return undefined
  if (of === "len") return String(list.length)
  if (to > list.length) return undefined
  const slice = list.slice(from, to)
  if (of === "print") return `[${slice.join(", ")}]`
  if (of === "sum") return String(slice.reduce((sum, value) => sum + value, 0))
  return String(of === "min" ? Math.min(...slice) : Math.max(...slice))
}

/** An operation that this list allows, of any kind. */
export function drawOperation(random: Random, list: readonly number[]): Operation {
  const kind = pick(random, ["append", "insert", "pop", "remove", "sort", "reverse"] as const)
  if (kind === "append" || list.length < 3) return { do: "append", value: listNumber(random) }
  if (kind === "insert") return { do: kind, at: below(random, list.length), value: listNumber(random) }
  if (kind === "pop") return { do: kind, at: below(random, list.length) }
  if (kind === "remove") return { do: kind, value: pick(random, list) }
  return { do: kind }
}

/** Statements that leave the list as it is: a fixed print, reverses in pairs, or a number that comes and goes. */
export function drawFiller(random: Random): Operation[] {
  const kind = below(random, 3)
  if (kind === 0) return [{ do: "nothing" }]
  if (kind === 1) return [{ do: "reverse" }, { do: "reverse" }]
  const value = listNumber(random)
  return [
    { do: "insert", at: 0, value },
    { do: "pop", at: 0 },
  ]
}

/** One statement of Python. */
export function statement(operation: Operation): string {
  switch (operation.do) {
    case "append":
      return `a.append(${operation.value})`
    case "insert":
      return `a.insert(${operation.at}, ${operation.value})`
    case "pop":
      return `a.pop(${operation.at})`
    case "remove":
      return `a.remove(${operation.value})`
    case "nothing":
      return `print("Do nothing.")`
    default:
      return `a.${operation.do}()`
  }
}

export function viewStatement({ of, from, to }: View): string {
  if (of === "len") return "print(len(a))"
  return of === "print" ? `print(a[${from}:${to}])` : `print(${of}(a[${from}:${to}]))`
}
