import { EXIT } from "./errors.ts"

/** Runs `work` so that Ctrl-C aborts it. If it does not end by that, another Ctrl-C ends the process. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const onInterrupt = () => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted)
    controller.abort()
  }
  process.on("SIGINT", onInterrupt)
  try {
    return await work(controller.signal)
  } finally {
    process.off("SIGINT", onInterrupt)
  }
}
