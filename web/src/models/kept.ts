// What can be done with the models that the browser keeps. The work is the engine's, in its Worker.

import { type DownloadProgress, HubError, isLost, modelStore, type StoredModel } from "../engine.ts"
import { type Choice, live, model, notice, offline, storage, type Transfer, transfers } from "../state/store.ts"
import { troubleOf } from "../state/trouble.ts"
import { online } from "../ui/network.ts"
import { loadModel, tokenFor } from "./load_model.ts"
import { forgetKept } from "./remembered.ts"

interface Following {
  readonly signal: AbortSignal
  readonly onProgress: (progress: DownloadProgress) => void
  readonly onWait: () => void
}

/** Reads what is kept and what room there is. */
export async function refreshKept(): Promise<void> {
  try {
    const [models, origin] = await Promise.all([modelStore().list(), modelStore().estimate()])
    storage.value = { kind: "read", models, origin }
  } catch (error) {
    storage.value = { kind: "failed", trouble: troubleOf(error) }
  }
}

/**
 * Brings what is missing of a model on the Hub.
 *
 * @param options how to load it when it is here; without them it is only kept
 */
export async function keepHub(id: string, options?: Choice["options"]): Promise<void> {
  await bring(id, "download", (following) => download(id, following), options)
}

/** Goes on from where it is when there is a network again. */
async function download(id: string, following: Following): Promise<StoredModel> {
  for (;;) {
    try {
      return await modelStore().download(id, { ...following, token: tokenFor(id) })
    } catch (error) {
      if (!(error instanceof HubError && error.code === "network" && offline.value)) throw error
      await online(following.signal)
    }
  }
}

/** Copies picked files, so that they need not be picked again. Otherwise as {@link keepHub}. */
export async function keepFiles(name: string, files: readonly File[], options?: Choice["options"]): Promise<void> {
  await bring(name, "import", (following) => modelStore().import(files, following), options)
}

/** Stops what is on its way. What has arrived stays for the next time. */
export function stopTransfer(name: string): void {
  transfers.value.get(name)?.controller?.abort()
}

/** Puts a failure away that has been read. */
export function closeTransfer(name: string): void {
  setTransfer(name, undefined)
}

export async function removeKept(id: string): Promise<void> {
  try {
    await modelStore().remove(id)
    forgetKept(id)
    closeTransfer(id)
  } catch (error) {
    const { title, text } = troubleOf(error)
    notice.value = { text: `${title}. ${text}`, alert: true }
  }
  await refreshKept()
}

/** Asks the browser not to clear the models by itself. */
export async function persistKept(): Promise<void> {
  const isSafe = await modelStore()
    .persist()
    .catch(() => false)
  if (!isSafe) {
    const text =
      "The browser did not agree: it may clear the models when the disk gets full. A bookmark may change that."
    notice.value = { text, alert: false }
  }
  await refreshKept()
}

async function bring(
  name: string,
  kind: Transfer["kind"],
  work: (following: Following) => Promise<StoredModel>,
  options: Choice["options"] | undefined,
): Promise<void> {
  if (transfers.value.get(name)?.controller) return // it is underway
  const controller = new AbortController()
  const before = choiceNow()
  const set = (change: Partial<Transfer>) => {
    const now = transfers.value.get(name)
    if (now?.controller === controller) setTransfer(name, { ...now, ...change })
  }
  setTransfer(name, { kind, controller })
  try {
    const { id } = await work({
      signal: controller.signal,
      onProgress: (progress) => set({ progress, waits: false }),
      onWait: () => set({ waits: true }),
    })
    setTransfer(name, undefined)
    await refreshKept()
    await arrive(id, options, choiceNow() === before)
  } catch (error) {
    setTransfer(name, controller.signal.aborted ? undefined : { kind, trouble: transferTrouble(error) })
    await refreshKept()
  }
}

/** Loads what has come, unless the user has gone on to something else meanwhile. */
async function arrive(id: string, options: Choice["options"] | undefined, isExpected: boolean): Promise<void> {
  if (options && isExpected && !live.value) {
    await loadModel({ name: id, location: { kept: id }, options })
    return
  }
  notice.value = { text: `${id} is on this device now, and can be loaded under Models.`, alert: false }
}

function transferTrouble(error: unknown): Transfer["trouble"] {
  if (!isLost(error)) return troubleOf(error)
  return { kind: "other", title: "It was broken off", text: "The engine has ended. What had arrived before is here." }
}

function setTransfer(name: string, transfer: Transfer | undefined): void {
  const others = [...transfers.value].filter(([other]) => other !== name)
  transfers.value = new Map(transfer ? [...others, [name, transfer]] : others)
}

function choiceNow(): Choice | undefined {
  return model.value.kind === "none" ? undefined : model.value.choice
}
