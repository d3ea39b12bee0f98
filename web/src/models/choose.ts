import { signal } from "@preact/signals"
import { open, type WorkerCheckpoint, type WorkerLocation } from "../engine.ts"
import { go } from "../state/route.ts"
import { type Choice, type Trouble, view } from "../state/store.ts"
import { troubleOf } from "../state/trouble.ts"
import { loadModel } from "./load_model.ts"

/** A model that was pointed at and is looked at before it is loaded. */
export type Candidate =
  | { readonly kind: "opening"; readonly name: string }
  | {
      readonly kind: "open"
      readonly name: string
      readonly location: WorkerLocation
      readonly checkpoint: WorkerCheckpoint
    }
  | { readonly kind: "failed"; readonly name: string; readonly trouble: Trouble }

export const candidate = signal<Candidate | undefined>(undefined)

let latest = 0

/** Reads the headers of a model on the Hub. */
export async function chooseHub(id: string): Promise<void> {
  await choose(id.trim(), id.trim())
}

/** Reads the headers of files that were picked or dropped. */
export async function chooseFiles(files: readonly File[]): Promise<void> {
  if (view.value !== "models") go("#/models")
  await choose(filesName(files), files)
}

/** Puts what was chosen away. */
export async function forget(): Promise<void> {
  latest++
  const { value } = candidate
  candidate.value = undefined
  if (value?.kind === "open") await value.checkpoint.close().catch(() => {}) // the engine may have ended
}

/** Loads what was chosen. */
export async function loadChosen(options: Choice["options"]): Promise<void> {
  const { value } = candidate
  if (value?.kind !== "open") return
  await forget()
  go("#/")
  await loadModel({ name: value.name, location: value.location, options })
}

async function choose(name: string, location: WorkerLocation): Promise<void> {
  await forget()
  const turn = latest
  candidate.value = { kind: "opening", name }
  try {
    const checkpoint = await open(location)
    if (turn === latest) candidate.value = { kind: "open", name, location, checkpoint }
    else await checkpoint.close()
  } catch (error) {
    if (turn === latest) candidate.value = { kind: "failed", name, trouble: troubleOf(error) }
  }
}

function filesName(files: readonly File[]): string {
  const [first] = files
  const folder = first?.webkitRelativePath.split("/")[0]
  if (folder && files.length > 1) return folder
  return files.length === 1 ? first!.name : `${files.length} files`
}
