import { type Command, CommanderError } from "commander"
import { HubError } from "../src/index.ts"

/** What a process ends with: ours 1, the user's 2, Ctrl-C 130. */
export const EXIT = { failure: 1, usage: 2, interrupted: 130 } as const

/** Says what went wrong on stderr, with the usage line if the user can help it, and gives the exit code. */
export function report(error: unknown, command: Command): number {
  if (isAbort(error)) return EXIT.interrupted
  const name = commandName(command)
  process.stderr.write(`${name}: ${describeError(error, command.name())}\n`)
  if (process.env.GEMLET_DEBUG && error instanceof Error && error.stack) process.stderr.write(`${error.stack}\n`)
  if (!isUserError(error)) return EXIT.failure
  process.stderr.write(`usage: ${name} ${command.usage()}  (${name} --help tells more)\n`)
  return EXIT.usage
}

/** One line for people, without the subject that the line begins with anyway. */
export function describeError(error: unknown, subject: string): string {
  if (!(error instanceof Error)) return String(error)
  if (!(error instanceof CommanderError)) return error.message.replace(`${subject}: `, (found, at) => (at ? found : ""))
  const message = error.message.replace(/^error: /, "").replace(/\s*\n\s*/g, " ")
  return error.code === "commander.excessArguments" ? `${message} Put a text of several words in quotes.` : message
}

/**
 * Whether the user can help it. The library's own errors about values and files are built-in classes whose message names
 * the subject first; those that the runtime throws for a bug of ours do not.
 */
export function isUserError(error: unknown): boolean {
  if (error instanceof CommanderError) return true
  if (error instanceof HubError) return ["access", "missing", "unsupported"].includes(error.code)
  if (!(error instanceof Error)) return false
  const code = "code" in error ? error.code : undefined
  if (code !== undefined) return ["ENOENT", "EACCES", "EPERM", "EISDIR", "ENOTDIR"].includes(String(code))
  const builtIn = error instanceof RangeError || error instanceof TypeError || error instanceof SyntaxError
  return builtIn && /^[^:\n]+(:\d+)?: /.test(error.message)
}

export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError"
}

function commandName(command: Command): string {
  return command.parent ? `${commandName(command.parent)} ${command.name()}` : command.name()
}
