import { isAbort } from "./errors.ts"
import { flagOf } from "./training_options.ts"

/**
 * An error of the library in the words of the command line: with flags for the names of options. A loss that is not a
 * number is no fault of a flag or a file, though a flag may help.
 */
export function inFlags(error: unknown): unknown {
  if (!(error instanceof Error) || isAbort(error)) return error // an abort's message cannot be written
  if (isDivergence(error)) return new Error(error.message, { cause: error })
  error.message = rewritten(error.message)
  return error
}

/** Whether a step gave a loss or gradients that are not finite. */
export function isDivergence({ message }: Error): boolean {
  return /^step \d+: /.test(message)
}

type Rule = readonly [RegExp, (...groups: string[]) => string]

const RULES: readonly Rule[] = [
  [/^resume: (\w+) is (\{.*\}), expected (\{.*\}) as before/s, (...groups) => difference(groups)],
  [/^resume: (\w+) is (.*), expected (.*) as before/s, (name, is, was) => changed(flagOf(name!), is!, was!)],
  [
    /^batches: state's (\w+) is (.*), expected (.*?)(?: as in the options| \(is it other data\?\))/s,
    (name, was, is) => changed(flagOf(name!), is!, was!),
  ],
  [/^batches: ([a-z]\w*) is /, (name) => `${flagOf(name!)}: value is `],
  [/^(context|rowsAtOnce|warmup|init|dora|spectrum): is /, (name) => `${flagOf(name!)}: value is `],
  [
    /recompute with (\d+) rows? at once of (\d+) tokens/,
    (rows, context) => `--recompute --rows-at-once ${rows} --context ${context}`,
  ],
]

function rewritten(message: string): string {
  return RULES.reduce((text, [found, rule]) => text.replace(found, (_, ...groups) => rule(...groups)), message)
}

function changed(flag: string, is: string, was: string): string {
  return `${flag}: value is ${is}, expected ${was} as when the run began`
}

/** Of two objects only what differs first: `adapter`, `optimizer` and `model` are such. */
function difference([name, now, before]: readonly string[]): string {
  const [is, was] = [JSON.parse(now!), JSON.parse(before!)]
  const key = Object.keys({ ...was, ...is }).find((each) => JSON.stringify(is[each]) !== JSON.stringify(was[each]))!
  const [one, other] = [JSON.stringify(is[key]), JSON.stringify(was[key])]
  if (name === "model") return `--model: ${key} is ${one}, expected ${other} as when the run began`
  return changed(flagOf(key === "name" ? name! : key), one, other)
}
