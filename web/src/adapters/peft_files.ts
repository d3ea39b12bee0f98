import { readEntry, zipEntries } from "./zip/read_zip.ts"

export const CONFIG = "adapter_config.json"
export const WEIGHTS = "adapter_model.safetensors"
const PICKLE = "adapter_model.bin"

const MIB = 2 ** 20
/** A config has a few kB, and the adapter of the largest model that a page can hold a few hundred MiB. */
const LIMITS = { [CONFIG]: MIB, [WEIGHTS]: 1024 * MIB }
/** What a zip may list: a run's folder with all its checkpoints is less. */
const MOST_FILES = 10_000
/** What macOS and others put beside what they pack. */
const HIDDEN = /(?:^|\/)(?:__MACOSX|\.[^./][^/]*)\//

/** A file that may be one of an adapter's. */
interface Candidate {
  readonly path: string
  read(limit: number): Promise<Blob>
}

/** What files that were picked or dropped are called together. */
export function nameOfFiles(files: readonly File[]): string {
  const [first] = files
  if (isZip(files)) return first!.name.slice(0, -".zip".length) || "Adapter"
  return first?.webkitRelativePath.split("/").at(-2) || "Adapter"
}

/** Whether files are an adapter's rather than a model's, by their names. */
export function areAdapter(files: readonly File[]): boolean {
  return isZip(files) || files.some(({ name }) => name === CONFIG || name === WEIGHTS)
}

/**
 * Finds an adapter in files that were picked or dropped: its two files, a folder with them in it, or a zip of either.
 *
 * @throws {RangeError | TypeError | SyntaxError} that says what is missing, too large or damaged
 */
export async function findPeftFiles(files: readonly File[]): Promise<[config: File, weights: File]> {
  const all = isZip(files) ? await candidatesOfZip(files[0]!) : files.map(candidateOfFile)
  const shown = all.filter(({ path }) => !HIDDEN.test(path))
  const config = configOf(shown)
  const beside = (name: string) => shown.find(({ path }) => path === config.path.slice(0, -CONFIG.length) + name)
  const weights = beside(WEIGHTS)
  if (weights) return [await readFile(config, CONFIG), await readFile(weights, WEIGHTS)]
  if (!beside(PICKLE)) throw new RangeError(`${WEIGHTS}: is missing, expected it beside ${CONFIG}`)
  const how = "load it with PEFT and save it with save_pretrained"
  throw new TypeError(`${PICKLE}: is a pickle, which can run anything, expected ${WEIGHTS} (${how})`)
}

/** The one that is least deep: a run's folder has those of its checkpoints below. */
function configOf(candidates: readonly Candidate[]): Candidate {
  const depth = ({ path }: Candidate) => path.split("/").length
  const configs = candidates.filter(({ path }) => path.split("/").at(-1) === CONFIG)
  const least = Math.min(...configs.map(depth))
  const [first, ...others] = configs.filter((each) => depth(each) === least)
  if (!first) throw new RangeError(`${CONFIG}: is missing, expected the folder of a PEFT adapter, or a zip of it`)
  if (others.length > 0) throw new RangeError(`${CONFIG}: is there ${others.length + 1} times, expected one adapter`)
  return first
}

async function candidatesOfZip(zip: File): Promise<Candidate[]> {
  const entries = await zipEntries(zip)
  if (entries.length > MOST_FILES) {
    throw new RangeError(`${zip.name}: number of files is ${entries.length}, expected at most ${MOST_FILES}`)
  }
  return entries.map((entry) => ({ path: entry.name, read: (limit) => readEntry(zip, entry, limit) }))
}

function candidateOfFile(file: File): Candidate {
  const { size } = file
  return {
    path: file.webkitRelativePath || file.name,
    async read(limit) {
      if (size > limit) throw new RangeError(`${file.name}: size is ${size} bytes, expected at most ${limit}`)
      return file
    },
  }
}

async function readFile(candidate: Candidate, name: keyof typeof LIMITS): Promise<File> {
  return new File([await candidate.read(LIMITS[name])], name)
}

function isZip(files: readonly File[]): boolean {
  return files.length === 1 && /\.zip$/i.test(files[0]!.name)
}
