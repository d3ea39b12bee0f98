import {
  GpuError,
  isLost,
  load,
  modelStore,
  STORYTELLER,
  terminate,
  type WorkerLanguageModel,
  type WorkerLocation,
} from "../engine.ts"
import {
  accessToken,
  activeRun,
  type Choice,
  type Kept,
  live,
  model,
  notice,
  readyModel,
  transfers,
} from "../state/store.ts"
import { missingWebGpu, troubleOf } from "../state/trouble.ts"
import { forgetLast, rememberKept } from "./remembered.ts"

export const STORYTELLER_CHOICE: Choice = { name: "storyteller", location: STORYTELLER, options: {} }

let loading: AbortController | undefined
/** The model that was loaded last: it has its memory until the next is asked for, even if it cannot answer any more. */
let last: WorkerLanguageModel | undefined

/** Loads a model in the place of the one that is there. What goes wrong is in the state, in words. */
export async function loadModel(choice: Choice): Promise<void> {
  loading?.abort()
  const controller = new AbortController()
  loading = controller
  live.value?.controller.abort()
  const before = last
  last = undefined
  model.value = { kind: "loading", choice, progress: undefined }
  try {
    // First, as a device may have no room for both. That of a lost device cannot be disposed, and needs not be.
    await activeRun.value?.stop()
    await before?.dispose().catch(() => {})
    const unavailable = missingWebGpu()
    if (unavailable) {
      model.value = { kind: "failed", choice, trouble: unavailable }
      return
    }
    const lm = await load(await placeOf(choice.location), {
      ...choice.options,
      token: tokenFor(choice.location),
      signal: controller.signal,
      onProgress: (progress) => {
        if (loading === controller) model.value = { kind: "loading", choice, progress }
      },
    })
    if (loading !== controller) {
      await lm.dispose()
      return
    }
    last = lm
    model.value = { kind: "ready", choice, lm }
    void lm.lost.then((error) => {
      if (readyModel.value === lm) noteLoss(error)
    })
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

/** What the Hub is shown: nobody else is. */
export function tokenFor(location: Choice["location"]): string | undefined {
  return typeof location === "string" ? accessToken.value.text || undefined : undefined
}

/** After a failure: the same model, in a new engine unless the one that is there is bringing something. */
export async function rebuild(): Promise<void> {
  const { value } = model
  if (value.kind === "none") return
  const isBringing = [...transfers.value.values()].some(({ controller }) => controller !== undefined)
  if (!isBringing) terminate()
  await loadModel(value.choice)
  if (model.value.kind === "ready") notice.value = { text: "The model is back.", alert: false }
}

/** After some errors the model that is there cannot answer any more: a device that has failed once is not to be trusted. */
export function noteLoss(error: unknown): void {
  const { value } = model
  if (!isLost(error) && !(error instanceof GpuError)) return
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
