import { show } from "../model/keys.ts"
import { blobSource, type Source } from "../model/source.ts"
import { Fingerprint } from "./fingerprint.ts"
import { decodeUtf8, type Line, PIECE_BYTES, RangeReader, scanLines } from "./lines.ts"
import { BadRecords, type DataRecord, type Dataset, expectSome, parseRecord } from "./records.ts"

/** A file of records, and what errors call it. Its name's ending says what it holds. */
export interface NamedSource {
  readonly name: string
  readonly source: Source
}

export interface DatasetOptions {
  /** Go on after a record that cannot be used, and count it. Default false: it is an error. */
  readonly skipBad?: boolean
  /** Bytes that a line, or a text file, may have. Default 64 MiB. */
  readonly lineLimit?: number
}

const LINE_LIMIT = 64 * 2 ** 20
const ENDINGS = /\.(jsonl|txt|md)(\.gz)?$/i

/** Whether a file's name says that it holds records. */
export function isDataFile(name: string): boolean {
  return ENDINGS.test(name)
}

/** Where the records of one file lie: three numbers each, and no contents. */
interface DataFile {
  readonly name: string
  readonly lines: boolean
  readonly source: Source
  /** The number in the dataset of the file's first record. */
  readonly first: number
  readonly starts: number[]
  readonly ends: number[]
  readonly numbers: number[]
}

/**
 * Opens files of records: `.jsonl` with one object a line, `.txt` and `.md` as one text each, any of them with `.gz`. All
 * is read once to check it; what stays in memory is where the records begin and end. A `.gz` file is unpacked as a whole.
 * Windows' line ends count as `\n`, also within a text file.
 *
 * @throws SyntaxError, TypeError or RangeError naming the file and line
 */
export async function openDataset(
  sources: readonly NamedSource[],
  { skipBad = false, lineLimit = LINE_LIMIT }: DatasetOptions = {},
): Promise<Dataset> {
  const name = sources.length === 1 ? sources[0]!.name : "dataset"
  const skipped = new BadRecords(skipBad)
  const fingerprint = new Fingerprint()
  const files: DataFile[] = []
  const reader = new RangeReader()
  let count = 0
  for (const named of sources) {
    const source = await unpacked(named)
    const lines = /\.jsonl(\.gz)?$/i.test(named.name)
    const empty = { starts: [], ends: [], numbers: [] }
    const file: DataFile = { name: named.name, lines, source, first: count, ...empty }
    fingerprint.update(new TextEncoder().encode(`${lines ? "lines" : "text"} ${source.byteLength}\n`))
    const scan = lines ? scanFile : scanText
    await scan(file, lineLimit, skipped, fingerprint)
    files.push(file)
    count += file.starts.length
  }
  expectSome(name, count, skipped)
  fingerprint.update(new TextEncoder().encode(`${count} records`))
  const where = (index: number) => {
    const [file, i] = fileOf(files, index)
    return whereIn(file, file.numbers[i]!)
  }
  return { name, count, skipped, fingerprint: String(fingerprint), read: (index) => read(files, reader, index), where }
}

/** The source that a name's ending promises: gzip unpacked. */
export async function unpacked({ name, source }: NamedSource): Promise<Source> {
  if (!isDataFile(name)) {
    const is = show(/(\.[^./\\]*)?$/.exec(name)![0])
    throw new RangeError(`${name}: ending is ${is}, expected .jsonl, .txt or .md, perhaps with .gz`)
  }
  if (!/\.gz$/i.test(name)) return source
  const stream = pieces(source).pipeThrough(new DecompressionStream("gzip"))
  try {
    return blobSource(await new Response(stream).blob(), name)
  } catch (error) {
    throw new SyntaxError(`${name}: gzip data is damaged, expected a whole gzip file`, { cause: error })
  }
}

function pieces(source: Source): ReadableStream<Uint8Array<ArrayBuffer>> {
  let at = 0
  return new ReadableStream({
    async pull(controller) {
      if (at >= source.byteLength) return controller.close()
      const end = Math.min(at + PIECE_BYTES, source.byteLength)
      controller.enqueue(new Uint8Array(await source.slice(at, end)))
      at = end
    },
  })
}

async function scanFile(file: DataFile, limit: number, skipped: BadRecords, fingerprint: Fingerprint): Promise<void> {
  const take = (line: Line) => {
    const where = whereIn(file, line.number)
    const usable = skipped.attempt(() => {
      if (!line.bytes) throw tooLong(where, "line", line.end - line.start, limit)
      const text = decodeUtf8(line.bytes, where)
      if (text.trim() === "") return false
      parseRecord(text, where)
      return true
    })
    if (usable) keep(file, line.start, line.end, line.number)
  }
  await scanLines(file.source, limit, take, (piece) => fingerprint.update(piece))
}

/** A whole file as one text. */
async function scanText(file: DataFile, limit: number, skipped: BadRecords, fingerprint: Fingerprint): Promise<void> {
  const size = file.source.byteLength
  const bytes = size > limit ? undefined : new Uint8Array(await file.source.slice(0, size))
  const usable = skipped.attempt(() => {
    if (!bytes) throw tooLong(file.name, "text", size, limit)
    textRecord(bytes, file.name)
    return true
  })
  if (bytes) fingerprint.update(bytes)
  if (usable) keep(file, 0, size, 1)
}

function tooLong(where: string, what: string, length: number, limit: number): RangeError {
  return new RangeError(`${where}: ${what} is ${length} bytes, expected at most ${limit}`)
}

function keep({ starts, ends, numbers }: DataFile, start: number, end: number, number: number): void {
  starts.push(start)
  ends.push(end)
  numbers.push(number)
}

function textRecord(bytes: Uint8Array, where: string): DataRecord {
  const text = decodeUtf8(bytes, where).replaceAll("\r\n", "\n")
  if (text === "") throw new RangeError(`${where}: file is empty, expected text`)
  return { text }
}

async function read(files: readonly DataFile[], reader: RangeReader, index: number): Promise<DataRecord> {
  const [file, i] = fileOf(files, index)
  const bytes = await reader.read(file.source, file.starts[i]!, file.ends[i]!)
  const where = whereIn(file, file.numbers[i]!)
  return file.lines ? parseRecord(decodeUtf8(bytes, where), where) : textRecord(bytes, where)
}

/** The file of a record, and the record's number in it. */
function fileOf(files: readonly DataFile[], index: number): [DataFile, number] {
  let low = 0
  let high = files.length
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (files[middle]!.first <= index) low = middle
    else high = middle
  }
  const file = files[low]!
  return [file, index - file.first]
}

function whereIn({ name, lines }: DataFile, number: number): string {
  return lines ? `${name}:${number}` : name
}
