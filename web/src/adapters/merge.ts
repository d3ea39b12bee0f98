// The base with an adapter added to its weights, as a folder in a zip. The engine writes it to the disk file by file, and the zip
// refers to what lies there: a model is larger than what a page should hold.

import { signal } from "@preact/signals"
import { merge } from "../engine.ts"
import { placeOf, tokenFor } from "../models/load_model.ts"
import { model, type Trouble } from "../state/store.ts"
import { PageError, troubleOf } from "../state/trouble.ts"
import { type Adapter, adapterFolder } from "../storage/adapter.ts"
import { privateFolder, readPrivateFile, removePrivateFolder, writePrivateFile } from "../storage/private_files.ts"
import { fileNameOf, saveFile } from "../ui/files.ts"
import { fits } from "./base.ts"
import { zip } from "./zip/write_zip.ts"

/** One at a time: each takes the room of a model on the disk. */
export type Merging =
  | { readonly kind: "underway"; readonly id: string; readonly bytes: number; readonly controller: AbortController }
  | { readonly kind: "done"; readonly id: string; readonly name: string; readonly file: Blob; clear(): Promise<void> }
  | { readonly kind: "failed"; readonly id: string; readonly trouble: Trouble }

const FOLDER = "gemlet/merged"
/** Whoever has something in the folder holds it together with others; whoever clears it holds it alone. */
const LOCK = "gemlet-merged"

export const merging = signal<Merging | undefined>(undefined)

/** Removes what pages have left that were closed. */
export async function clearMerged(): Promise<void> {
  await navigator.locks?.request(LOCK, { ifAvailable: true }, async (lock) => {
    if (lock) await removePrivateFolder(FOLDER).catch(() => {}) // tried again at the next visit
  })
}

/** Merges, and gives the zip to the user. */
export async function mergeAdapter(adapter: Adapter): Promise<void> {
  if (merging.value?.kind === "underway") return
  await closeMerging()
  const { id } = adapter
  const controller = new AbortController()
  const folder = `${FOLDER}/${crypto.randomUUID()}`
  const letGo = await hold()
  const clear = async () => {
    merging.value = undefined
    await removePrivateFolder(folder).catch(() => {}) // so does the next visit
    letGo()
  }
  const onBytes = (bytes: number) => {
    merging.value = { kind: "underway", id, bytes, controller }
  }
  onBytes(0)
  try {
    const files = await writeMerged(adapter, folder, onBytes, controller.signal)
    const name = fileNameOf(`${adapter.base.name.split("/").at(-1)} ${adapter.name}`, "merged")
    const named = files.map((content) => ({ name: `${name}/${content.name}`, content }))
    const file = await zip(named, controller.signal)
    merging.value = { kind: "done", id, name: `${name}.zip`, file, clear }
    saveMerged()
  } catch (error) {
    await clear()
    if (!controller.signal.aborted) merging.value = { kind: "failed", id, trouble: troubleOf(error) }
  }
}

/** Gives what is merged to the user, again if the first time went wrong. */
export function saveMerged(): void {
  const { value } = merging
  if (value?.kind === "done") saveFile(value.name, value.file, "application/zip")
}

/** Stops a merge, or clears what came of it. */
export async function closeMerging(): Promise<void> {
  const { value } = merging
  if (value?.kind === "underway") value.controller.abort()
  else if (value?.kind === "done") await value.clear()
  else merging.value = undefined
}

async function writeMerged(
  { id, base }: Adapter,
  folder: string,
  onBytes: (bytes: number) => void,
  signal: AbortSignal,
): Promise<File[]> {
  const { value } = model
  if (value.kind !== "ready" || !fits(base, value.choice)) {
    throw new PageError("Its model is not loaded", `Load ${base.name} and merge then.`)
  }
  const names: string[] = []
  let bytes = 0
  const counted = async function* (chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    for await (const chunk of chunks) {
      signal.throwIfAborted()
      yield chunk
      bytes += chunk.length
      onBytes(bytes)
    }
  }
  const store = {
    name: "merged",
    open: async () => undefined,
    write: async (file: string, chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) => {
      await writePrivateFile(folder, file, counted(chunks))
      names.push(file)
    },
  }
  const { location } = value.choice
  const adapter = await privateFolder(adapterFolder(id))
  await merge(await placeOf(location), [adapter], store, { token: tokenFor(location) })
  return Promise.all(names.map(async (name) => (await readPrivateFile(folder, name))!))
}

/** Keeps others from clearing the folder until what comes of it is called. */
function hold(): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const held = () => new Promise<void>((letGo) => resolve(letGo))
    navigator.locks.request(LOCK, { mode: "shared" }, held).catch(reject)
  })
}
