// What can be done with the adapters that the page keeps.

import { signal } from "@preact/signals"
import { go } from "../state/route.ts"
import { activeRun, adapters, model, notice, readyModel, shownId, type Trouble, view } from "../state/store.ts"
import { PageError, troubleOf } from "../state/trouble.ts"
import { type Adapter, adapterFolder } from "../storage/adapter.ts"
import { changeAdapter, deleteAdapter, listAdapters, onOthersWriteAdapters, writeAdapter } from "../storage/database.ts"
import { readPrivateFile, removePrivateFolder, writePrivateFile } from "../storage/private_files.ts"
import { fileNameOf, saveFile } from "../ui/files.ts"
import { baseOf } from "./base.ts"
import { CONFIG, findPeftFiles, nameOfFiles, WEIGHTS } from "./peft_files.ts"
import { forgetAdapter, tryFiles } from "./switch.ts"
import { type ZipFile, zip } from "./zip/write_zip.ts"

/** Files on their way to be an adapter of the page, or why they are none. */
export interface Bringing {
  readonly name: string
  readonly trouble?: Trouble
}

export const bringing = signal<Bringing | undefined>(undefined)

/** Reads what there is, and keeps up with other tabs. */
export async function openAdapters(): Promise<void> {
  onOthersWriteAdapters(() => void refreshAdapters())
  await refreshAdapters()
}

/** Reads the list again, as after each change of it. */
export async function refreshAdapters(): Promise<void> {
  adapters.value = (await attempt(listAdapters)) ?? adapters.value
}

/** Takes an adapter over that was made elsewhere, if the model that is loaded takes it. */
export async function bring(files: readonly File[]): Promise<void> {
  const name = nameOfFiles(files)
  bringing.value = { name }
  try {
    const id = await keepFiles(name, files)
    bringing.value = undefined
    await refreshAdapters()
    go(`#/adapters/${id}`)
  } catch (error) {
    bringing.value = { name, trouble: troubleOf(error) }
  }
}

/** Files that were dropped on whatever page is shown: what comes of them is told where adapters are. */
export async function bringDropped(files: readonly File[]): Promise<void> {
  if (view.value !== "adapters" || shownId.value !== undefined) go("#/adapters")
  await bring(files)
}

export async function renameAdapter(id: string, name: string): Promise<void> {
  await attempt(() => changeAdapter(id, (adapter) => ({ ...adapter, name })))
  await refreshAdapters()
}

/** Deletes an adapter with its files, unless it is being trained, here or in another tab. Gives whether it is gone. */
export async function removeAdapter({ id, name }: Adapter): Promise<boolean> {
  const isGone = await attempt(() =>
    navigator.locks.request(`gemlet-run-${id}`, { ifAvailable: true }, async (lock) => {
      if (!lock || activeRun.value?.id === id) throw new PageError(`“${name}” is being trained`, "Pause its run first.")
      await deleteAdapter(id)
      await removePrivateFolder(adapterFolder(id))
      return true
    }),
  )
  const lm = readyModel.value
  if (isGone && lm) forgetAdapter(lm, id).catch(() => {}) // a model that is gone has none
  await refreshAdapters()
  return isGone ?? false
}

/** Gives an adapter to the user as PEFT keeps one: a folder, in a zip. */
export async function downloadAdapter({ id, name }: Adapter): Promise<void> {
  await attempt(async () => {
    const folder = fileNameOf(name, "adapter")
    const files: ZipFile[] = []
    for (const file of [CONFIG, WEIGHTS]) {
      const content = await readPrivateFile(adapterFolder(id), file)
      if (!content) throw new RangeError(`${file}: is missing, expected it to be kept (has the browser cleared it?)`)
      files.push({ name: `${folder}/${file}`, content })
    }
    saveFile(`${folder}.zip`, await zip(files), "application/zip")
  })
}

async function keepFiles(name: string, files: readonly File[]): Promise<string> {
  const { value } = model
  if (value.kind !== "ready") {
    throw new PageError("There is no model to try it with", "Load the one that the adapter is made for.")
  }
  const found = await findPeftFiles(files)
  await tryFiles(value.lm, found)
  const id = crypto.randomUUID()
  const created = Date.now()
  const bytes = found.reduce((sum, { size }) => sum + size, 0)
  const brought = await describe(found[0])
  const adapter = { id, name, base: baseOf(value.choice), created, updated: created, bytes, run: undefined, brought }
  try {
    for (const file of found) await writePrivateFile(adapterFolder(id), file.name, [file])
    await writeAdapter(adapter)
  } catch (error) {
    await removePrivateFolder(adapterFolder(id)).catch(() => {}) // the reason comes first
    throw error
  }
  return id
}

/** What a config says, after the engine has found nothing wrong with it. */
async function describe(config: File): Promise<Adapter["brought"]> {
  const { r = 8, use_dora, use_rslora } = JSON.parse(await config.text()) as Record<string, unknown>
  return { kind: use_dora ? "DoRA" : use_rslora ? "rsLoRA" : "LoRA", rank: Number(r) }
}

/** Does something with storage; a failure is told, and what is on the screen stays. */
async function attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    const { title, text } = troubleOf(error)
    notice.value = { text: `${title}. ${text}`, alert: true }
    return undefined
  }
}
