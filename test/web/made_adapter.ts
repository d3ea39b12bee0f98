import type { Page } from "playwright-core"
import { adapterFiles } from "../../src/model/peft.ts"

export const CONFIG = "adapter_config.json"
export const WEIGHTS = "adapter_model.safetensors"

/** An adapter for the storyteller, or another width, with numbers that change what it says. */
export async function madeUp(width: number, step = 1.7): Promise<Record<string, Uint8Array>> {
  const rank = 4
  const numbers = (count: number, step: number) =>
    Float32Array.from({ length: count }, (_, i) => 0.5 * Math.sin(step * (i + 1)))
  const module = { rank, scale: 2, in: width, out: 640, a: numbers(rank * width, step), b: numbers(640 * rank, 2.3) }
  const paths = [1, 2, 3].map((layer) => `model.layers.${layer}.mlp.up_proj`)
  const patterns = { rankPattern: new Map(), alphaPattern: new Map() }
  const kind = { useRslora: false, useDora: false, dropout: 0, taskType: "CAUSAL_LM", baseModel: "storyteller" }
  const config = { rank, alpha: 8, ...patterns, ...kind, targets: { modules: ["up_proj"] } }
  const made = await adapterFiles({ config, modules: new Map(paths.map((path) => [path, module])) })
  return Object.fromEntries(made)
}

/** Does to the only adapter what a save of a run in another tab does. */
export function trainOn(page: Page, weights: Uint8Array): Promise<void> {
  return page.evaluate(
    async (numbers) => {
      const adapters = await new Promise<IDBObjectStore>((resolve) => {
        const opening = indexedDB.open("gemlet")
        opening.onsuccess = () => resolve(opening.result.transaction("adapters", "readwrite").objectStore("adapters"))
      })
      const [adapter] = await new Promise<{ id: string; updated: number }[]>((resolve) => {
        const all = adapters.getAll()
        all.onsuccess = () => resolve(all.result)
      })
      adapters.put({ ...adapter!, updated: adapter!.updated + 1 })
      adapters.transaction.db.close()
      let folder = await navigator.storage.getDirectory()
      for (const part of ["gemlet", "adapters", adapter!.id]) folder = await folder.getDirectoryHandle(part)
      const writable = await (await folder.getFileHandle("adapter_model.safetensors")).createWritable()
      await writable.write(Uint8Array.from(numbers))
      await writable.close()
    },
    [...weights],
  )
}

/** Folders of adapters in the origin's private file system. */
export function keptFiles(page: Page): Promise<string[]> {
  return page.evaluate(async () => {
    const create = { create: true }
    const root = await navigator.storage.getDirectory()
    const folder = await (await root.getDirectoryHandle("gemlet", create)).getDirectoryHandle("adapters", create)
    const names: string[] = []
    for await (const name of folder.keys()) names.push(name)
    return names
  })
}
