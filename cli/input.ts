import { readFile } from "node:fs/promises"

/** Where a command may find its text. */
export interface TextSources {
  /** The argument; `-` means stdin. */
  readonly text?: string
  readonly ids?: number[]
  readonly file?: string
}

/** The text or ids that a command is about: its argument, --ids, --file, or what is piped in. */
export async function readInput(what: string, { text, ids, file }: TextSources): Promise<string | number[]> {
  const given = [text !== undefined && "a text", ids && "--ids", file !== undefined && "--file"].filter(Boolean)
  if (given.length > 1) throw new RangeError(`${what}: given by ${given.join(" and ")}, expected one of them`)
  if (ids) return ids
  if (file !== undefined) return expectSome(what, await readTextFile(file))
  if (text !== undefined && text !== "-") return expectSome(what, text)
  if (text === undefined && process.stdin.isTTY) {
    throw new RangeError(`${what}: is missing, expected an argument or a text on stdin`)
  }
  // The newline that echo or an editor put at the end is not part of what is to be continued.
  return expectSome(what, (await readStdin()).replace(/\r?\n$/, ""))
}

function expectSome(what: string, text: string): string {
  if (text === "") throw new RangeError(`${what}: is empty, expected some text`)
  return text
}

export async function readTextFile(path: string): Promise<string> {
  try {
    return decode(path, await readFile(path))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "ENOENT") throw new RangeError(`${path}: no such file, expected a text file`)
    if (code === "EISDIR") throw new RangeError(`${path}: is a folder, expected a text file`)
    throw error
  }
}

export async function readStdin(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  return decode("stdin", Buffer.concat(chunks))
}

function decode(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    throw new SyntaxError(`${name}: text is in another encoding, expected UTF-8`)
  }
}
