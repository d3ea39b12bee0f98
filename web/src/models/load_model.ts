import { load, modelStore, STORYTELLER, terminate, type WorkerLocation } from "../engine.ts"
import { type Choice, type Kept, live, model, notice, transfers } from "../state/store.ts"
import { missingWebGpu, troubleOf } from "../state/trouble.ts"
import { forgetLast, rememberKept } from "./remembered.ts"

export const STORYTELLER_CHOICE: Choice = { name: "storyteller", location: STORYTELLER, options: {} }

let loading: AbortController | undefined

/** Loads a model in the place of the one that is there. What goes wrong is in the state, in words. */
export async function loadModel(choice: Choice): Promise<void> {
  loading?.abort()
  const controller = new AbortController()
  loading = controller
  live.value?.controller.abort()
  const before = model.value
  model.value = { kind: "loading", choice, progress: undefined }
  try {
    // First, as a device may have no room for both. That of a lost device cannot be disposed, and needs not be.
    if (before.kind === "ready") await before.lm.dispose().catch(() => {})
    const unavailable = missingWebGpu()
    if (unavailable) {
      model.value = { kind: "failed", choice, trouble: unavailable }
      return
    }
    const lm = await load(await placeOf(choice.location), {
      ...choice.options,
      signal: controller.signal,
      onProgress: (progress) => {
        if (loading === controller) model.value = { kind: "loading", choice, progress }
      },
    })
    if (loading !== controller) {
      await lm.dispose()
      return
    }
    model.value = { kind: "ready", choice, lm }
    remember(choice)
  } catch (error) {
    if (loading !== controller) return // another model is asked for by now
    if (controller.signal.aborted) model.value = { kind: "none" }
    else model.value = { kind: "failed", choice, trouble: troubleOf(error) }
  }
}

/** Gives a load up. */
export function cancelLoading(): void {
  loading?.abort()
}

/** Where the engine reads a model. */
export async function placeOf(location: Choice["location"]): Promise<WorkerLocation> {
  return isKept(location) ? modelStore().open(location.kept) : location
}

/** After a failure: a new engine, and the same model in it. One that works is left to what it brings. */
export async function rebuild(): Promise<void> {
  const { value } = model
  if (value.kind === "none") return
  const isLost = value.kind === "failed" && value.trouble.kind === "lost"
  const isBringing = [...transfers.value.values()].some(({ controller }) => controller !== undefined)
  if (isLost || !isBringing) terminate()
  await loadModel(value.choice)
  if (model.value.kind === "ready") notice.value = { text: "The model is back.", alert: false }
}

/** The model that is there cannot answer any more. */
export function noteLoss(error: unknown): void {
  const { value } = model
  if (value.kind === "ready") model.value = { kind: "failed", choice: value.choice, trouble: troubleOf(error) }
}

/** What the next visit begins with: a kept model or the page's own. Picked files are not there then. */
function remember({ location, options }: Choice): void {
  if (isKept(location)) rememberKept(location.kept, options)
  else if (location === STORYTELLER) forgetLast()
}

function isKept(location: Choice["location"]): location is Kept {
  return typeof location === "object" && "kept" in location
}
