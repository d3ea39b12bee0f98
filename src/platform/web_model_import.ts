import type { RemoteFile } from "../hub/client.ts"
import { HubError } from "../hub/errors.ts"
import { chooseFiles, INDEX, shardNames } from "../hub/files.ts"
import { startHash } from "../hub/hash.ts"
import { isModelId } from "../hub/model_id.ts"
import type { ProgressMeter } from "../hub/progress.ts"
import { PATIENCE } from "../hub/retry.ts"
import type { Origin } from "../hub/transfer.ts"
import { openCheckpoint } from "../model/checkpoint.ts"
import { isGguf } from "../model/gguf/find.ts"
import { type Folder, readText, type Source } from "../model/source.ts"

/** Hashed at once, so few that a page does not stutter. */
const READ_BYTES = 2 ** 20

/**
 * The files of a folder that a model needs, as {@link chooseFiles} has it, after a look at its config and headers.
 *
 * @throws what `open` throws for a model that cannot be read; HubError `unsupported` where files are missing
 */
export async function filesToImport(
  folder: Folder,
  options: { ignoreKeys?: readonly string[] | undefined },
): Promise<Map<string, Source>> {
  const names = (await folder.list?.()) ?? []
  const paths = chooseFiles(folder.name, [...names], folder.file)
  if (paths.includes(INDEX)) paths.push(...shardNames((await readText(folder, INDEX))!))
  const sources = new Map<string, Source>()
  for (const path of paths) {
    const source = await folder.open(path)
    if (!source) throw new HubError("unsupported", `${folder.name}: ${path} is missing, expected by ${INDEX}`)
    sources.set(path, source)
  }
  await openCheckpoint(folder, options)
  return sources
}

/** What an import is called that was given no name: as the folder, or the GGUF in it. */
export function nameOf(folder: Folder, paths: Iterable<string>): string {
  const gguf = [...paths].find(isGguf)
  const name = gguf?.replace(/^.*\/|\.gguf$/gi, "") ?? folder.name
  const plain = name.replace(/[^\w.-]+/g, "-").replace(/[.-]{2,}/g, "-")
  const short = plain.slice(0, 90).replace(/^[.-]+|[.-]+$/g, "")
  return isModelId(short) ? short : "model"
}

/** What the Hub would list: sizes and hashes. Reads every file once. */
export async function hashSources(
  sources: ReadonlyMap<string, Source>,
  progress: ProgressMeter,
  signal: AbortSignal | undefined,
): Promise<RemoteFile[]> {
  const files: RemoteFile[] = []
  for (const [path, source] of sources) {
    progress.place(path, 0)
    const hash = startHash("sha256", source.byteLength)
    for await (const bytes of read(path, source, 0)) {
      signal?.throwIfAborted()
      hash.update(bytes)
      progress.receive(bytes.length)
    }
    progress.finish(path, source.byteLength)
    files.push({ path, size: source.byteLength, etag: hash.digest("hex"), algorithm: "sha256" })
  }
  return files
}

/** Sources to transfer from, as from a server. */
export function sourcesOrigin(sources: ReadonlyMap<string, Source>, signal: AbortSignal | undefined): Origin {
  return {
    patience: PATIENCE,
    signal,
    open: async ({ path }, offset, signal) => ({ start: offset, body: read(path, sources.get(path)!, offset, signal) }),
  }
}

async function* read(path: string, source: Source, from: number, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  for (let at = from; at < source.byteLength; at += READ_BYTES) {
    signal?.throwIfAborted()
    const end = Math.min(at + READ_BYTES, source.byteLength)
    const bytes = await source.slice(at, end).catch((cause: unknown) => {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new HubError("corrupt", `${path}: bytes ${at} to ${end} cannot be read (${why}); pick it again`, { cause })
    })
    yield new Uint8Array(bytes)
  }
}
