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
