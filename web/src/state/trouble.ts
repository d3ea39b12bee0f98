import { GpuError, HubError, isLost } from "../engine.ts"
import type { Trouble } from "./store.ts"

/** Of errors of the Hub and of what is kept from it, by their codes. */
const HUB_TITLES: Partial<Record<HubError["code"], string>> = {
  access: "The Hub does not let you read it",
  network: "The connection broke, or there is none",
  space: "There is not enough room for it",
  corrupt: "The bytes that came are not the right ones",
  missing: "It is not there",
  busy: "It is being brought or changed",
}
const NO_WEBGPU = "This browser gives the page no GPU"

/** Something that the page itself refuses or cannot do, told as it is. */
export class PageError extends Error {
  readonly title: string

  constructor(title: string, text: string) {
    super(text)
    this.title = title
  }
}

/** What an error means to somebody who has not written this page. */
export function troubleOf(error: unknown): Trouble {
  const message = error instanceof Error ? error.message : String(error)
  if (isLost(error)) {
    return {
      kind: "lost",
      title: "The GPU was lost",
      text: `The driver or the browser took the device away, or the engine ended. Your conversations are safe. (${message})`,
    }
  }
  if (error instanceof PageError) return { kind: "other", title: error.title, text: message }
  if (error instanceof GpuError) return gpuTrouble(error)
  if (error instanceof HubError) {
    const title = HUB_TITLES[error.code] ?? "The model's host did not give the files"
    return { kind: error.code === "access" ? "access" : "other", title, text: message }
  }
  if (error instanceof DOMException && error.name === "QuotaExceededError") {
    const text = "Delete models, adapters or conversations that you do not need, or free some of the disk."
    return { kind: "other", title: "There is not enough room on this device", text }
  }
  if (error instanceof TypeError && /fetch|network/i.test(message)) {
    return { kind: "other", title: "The files could not be fetched", text: `Is the network there? (${message})` }
  }
  if (error instanceof SyntaxError) return { kind: "other", title: "A file could not be read", text: message }
  return { kind: "other", title: "That did not work", text: message }
}

function gpuTrouble({ kind, message }: GpuError): Trouble {
  if (kind === "no-adapter") return { kind: "no-webgpu", title: NO_WEBGPU, text: message }
  if (kind === "out-of-memory") {
    const text = `Close other pages, or choose a smaller model, a shorter context, or weights in 4 bits. (${message})`
    return { kind: "memory", title: "The GPU has not enough memory", text }
  }
  return { kind: "other", title: "The GPU refused", text: message }
}

/** Why there cannot be a model here, known before anything is tried; undefined where there may be one. */
export function missingWebGpu(): Trouble | undefined {
  if (navigator.gpu as GPU | undefined) return undefined
  const text = isSecureContext
    ? "The page needs WebGPU, which this browser does not have, or has turned off."
    : "Browsers give WebGPU to pages from https:// or localhost only, and this one came over plain http://."
  return { kind: "no-webgpu", title: NO_WEBGPU, text }
}
