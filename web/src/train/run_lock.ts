// A run belongs to one tab: the one that holds its lock, which the browser takes back when that tab is closed.

import { useSignal } from "@preact/signals"
import { useEffect } from "preact/hooks"
import type { RunStatus } from "../storage/adapter.ts"

const lockOf = (id: string) => `gemlet-run-${id}`

/** Takes a run for this tab. Gives what lets it go, or undefined where another tab has it. */
export function takeRun(id: string): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    const hold = (lock: Lock | null) => {
      if (lock) return new Promise<void>((release) => resolve(release))
      resolve(undefined)
      return Promise.resolve()
    }
    navigator.locks.request(lockOf(id), { ifAvailable: true }, hold).catch(reject)
  })
}

/** Whether a tab has a run underway: this one, or another. */
export async function isRunHeld(id: string): Promise<boolean> {
  const { held = [] } = await navigator.locks.query()
  return held.some(({ name }) => name === lockOf(id))
}

/**
 * Whether another tab has the run underway, as long as it does. Undefined until that is known.
 *
 * @param isHere this tab has it
 * @param status as it was last written: another means that a tab may have taken it
 */
export function useRunElsewhere(id: string, isHere: boolean, status: RunStatus): boolean | undefined {
  const state = useSignal<boolean | undefined>(undefined)
  useEffect(() => {
    const controller = new AbortController()
    const follow = async () => {
      if (!isHere && (await isRunHeld(id))) {
        if (controller.signal.aborted) return
        state.value = true
        await navigator.locks.request(lockOf(id), { mode: "shared", signal: controller.signal }, () => {})
      }
      if (!controller.signal.aborted) state.value = false
    }
    follow().catch(() => {}) // the view is gone
    return () => controller.abort()
  }, [id, isHere, status, state])
  return state.value
}
