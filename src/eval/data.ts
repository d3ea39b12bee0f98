import { parseJson, type Source } from "../model/source.ts"
import { unpacked } from "../train/dataset.ts"
import { Fingerprint } from "../train/fingerprint.ts"
import { decodeUtf8, scanLines } from "../train/lines.ts"
import type { EvalData } from "./task.ts"

/** What tasks read. The last two are for the user's own files; the package has the others. */
export const DATA_NAMES = ["books", "texts", "blimp", "lambada", "fairytaleqa", "ruler", "mrcr"] as const

/** Of one line of a file. A conversation of a million tokens has a few megabytes. */
const LINE_LIMIT = 64 * 2 ** 20

/** A file's records, and the hash of its lines. */
interface Contents {
  readonly records: readonly unknown[]
  readonly fingerprint: string
}

/**
 * Data from files: `books` is what `open` gives for `books.jsonl`, or for `books.jsonl.gz` where there is no such file, one JSON value a
 * line. Each file is read once, when it is first asked for.
 *
 * @param open gives undefined for a file that is not there
 */
export function evalData(open: (file: string) => Promise<Source | undefined>): EvalData {
  const known = new Map<string, Promise<Contents>>()
  const contents = (name: string) => {
    const contents = known.get(name) ?? readContents(name, open)
    known.set(name, contents)
    contents.catch(() => known.delete(name)) // so that a file that could not be had is tried again
    return contents
  }
  return {
    read: async (name) => (await contents(name)).records,
    fingerprint: async (name) => (await contents(name)).fingerprint,
  }
}

/** Data in memory, for those who make their own. */
export function memoryData(records: Readonly<Record<string, readonly unknown[]>>): EvalData {
  const find = (name: string) => {
    const found = records[name]
    if (found) return found
    throw new RangeError(`eval: data is ${JSON.stringify(name)}, expected one of ${Object.keys(records).join(", ")}`)
  }
  return {
    read: async (name) => find(name),
    fingerprint: async (name) => {
      const lines = find(name).map((record) => `${JSON.stringify(record)}\n`)
      return String(new Fingerprint().update(new TextEncoder().encode(lines.join(""))))
    },
  }
}

async function readContents(name: string, open: (file: string) => Promise<Source | undefined>): Promise<Contents> {
  if (!DATA_NAMES.some((known) => known === name)) {
    throw new RangeError(`eval: data is ${JSON.stringify(name)}, expected one of ${DATA_NAMES.join(", ")}`)
  }
  for (const file of [`${name}.jsonl`, `${name}.jsonl.gz`]) {
    const source = await open(file)
    if (source) return await parse(file, await unpacked({ name: file, source }))
  }
  throw new RangeError(`eval: the file ${name}.jsonl is missing, expected it or ${name}.jsonl.gz in the folder of data`)
}

async function parse(file: string, source: Source): Promise<Contents> {
  const records: unknown[] = []
  const fingerprint = new Fingerprint()
  const take = ({ number, start, end, bytes }: { number: number; start: number; end: number; bytes?: Uint8Array }) => {
    const where = `${file}:${number}`
    if (!bytes) throw new RangeError(`${where}: line is ${end - start} bytes, expected at most ${LINE_LIMIT}`)
    const text = decodeUtf8(bytes, where)
    if (text.trim() !== "") records.push(parseJson(text, where))
  }
  await scanLines(source, LINE_LIMIT, take, (piece) => fingerprint.update(piece))
  if (records.length === 0) throw new RangeError(`${file}: number of records is 0, expected at least 1`)
  return { records, fingerprint: String(fingerprint) }
}
