import { signal } from "@preact/signals"
import { open, type WorkerCheckpoint } from "../engine.ts"
import { go } from "../state/route.ts"
import { type Choice, type Kept, storage, type Trouble, view } from "../state/store.ts"
import { troubleOf } from "../state/trouble.ts"
import { keepFiles, keepHub } from "./kept.ts"
import { loadModel, placeOf, STORYTELLER_CHOICE, tokenFor } from "./load_model.ts"
import { keptChoice } from "./remembered.ts"

/** Where a model was found, and so how it could be kept. */
export type Found =
  | { readonly kind: "hub"; readonly location: string }
  | { readonly kind: "files"; readonly location: readonly File[] }
  | { readonly kind: "kept"; readonly location: Kept }

/** A model that was pointed at and is looked at before it is loaded. */
export type Candidate =
  | { readonly kind: "opening"; readonly name: string }
  | {
      readonly kind: "open"
      readonly name: string
      readonly found: Found
      readonly checkpoint: WorkerCheckpoint
    }
  | { readonly kind: "failed"; readonly name: string; readonly trouble: Trouble }

export const candidate = signal<Candidate | undefined>(undefined)

let latest = 0

/** Reads the headers of a model on the Hub. */
export async function chooseHub(id: string): Promise<void> {
  await choose(id.trim(), { kind: "hub", location: id.trim() })
}

/** Reads the headers of files that were picked or dropped. */
export async function chooseFiles(files: readonly File[]): Promise<void> {
  if (view.value !== "models") go("#/models")
  await choose(filesName(files), { kind: "files", location: files })
}

/** Reads the headers of a model that the browser keeps. */
export async function chooseKept(id: string): Promise<void> {
  await choose(id, { kind: "kept", location: { kept: id } })
}

/** Loads a kept model as it was the last time. */
export async function loadKept(id: string): Promise<void> {
  await loadModel(keptChoice(id))
}

/** What loads a model by its name again; undefined for one whose files would have to be picked. */
export function wayTo(name: string): (() => Promise<void>) | undefined {
  if (name === STORYTELLER_CHOICE.name) return () => loadModel(STORYTELLER_CHOICE)
  const { value } = storage
  const isKept = value.kind === "read" && value.models.some(({ id, complete }) => id === name && complete)
  return isKept ? () => loadKept(name) : undefined
}

/** Puts what was chosen away. */
export async function forget(): Promise<void> {
  latest++
  const { value } = candidate
  candidate.value = undefined
  if (value?.kind === "open") await value.checkpoint.close().catch(() => {}) // the engine may have ended
}

/** Loads what was chosen, with `keep` from the browser's storage when it is there. */
export async function loadChosen(options: Choice["options"], keep: boolean): Promise<void> {
  const { value } = candidate
  if (value?.kind !== "open") return
  const { name, found } = value
  await forget()
  if (keep && found.kind === "hub") await keepHub(found.location, options)
  else if (keep && found.kind === "files") await keepFiles(name, found.location, options)
  else {
    go("#/")
    await loadModel({ name, location: found.location, options })
  }
}

async function choose(name: string, found: Found): Promise<void> {
  await forget()
  const turn = latest
  candidate.value = { kind: "opening", name }
  try {
    const token = found.kind === "hub" ? tokenFor(found.location) : undefined
    const checkpoint = await open(await placeOf(found.location), { token })
    if (turn === latest) candidate.value = { kind: "open", name, found, checkpoint }
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
