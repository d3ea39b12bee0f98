import { offline } from "../state/store.ts"

/** Keeps track of what the browser says of the network. */
export function followNetwork(): void {
  const note = () => {
    offline.value = !navigator.onLine
  }
  addEventListener("online", note)
  addEventListener("offline", note)
  note()
}

/** Waits until there is one again. @throws the signal's reason */
export function online(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    addEventListener("online", () => resolve(), { once: true, signal })
    signal.addEventListener("abort", () => reject(signal.reason), { once: true })
  })
}
