import { load, STORYTELLER, terminate } from "../engine.ts"
import { type Choice, live, model, notice } from "../state/store.ts"
import { missingWebGpu, troubleOf } from "../state/trouble.ts"

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
    const lm = await load(choice.location, {
      ...choice.options,
      signal: controller.signal,
      onProgress: (progress) => {
        if (loading === controller) model.value = { kind: "loading", choice, progress }
      },
    })
    if (loading === controller) model.value = { kind: "ready", choice, lm }
    else await lm.dispose()
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

/** After the device was lost: a new engine, and the same model in it. */
export async function rebuild(): Promise<void> {
  const { value } = model
  if (value.kind === "none") return
  terminate()
  await loadModel(value.choice)
  if (model.value.kind === "ready") notice.value = { text: "The model is back.", alert: false }
}

/** The model that is there cannot answer any more. */
export function noteLoss(error: unknown): void {
  const { value } = model
  if (value.kind === "ready") model.value = { kind: "failed", choice: value.choice, trouble: troubleOf(error) }
}
