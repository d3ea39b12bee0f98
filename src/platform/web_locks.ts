/** Lets one of several do something at a time. */
export interface Locks {
  /** Runs `work` when nobody else has `name`; aborting ends the wait, not the work. */
  run<T>(name: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T>
  /** Runs `work` if nobody has `name` now. @returns undefined if somebody has */
  tryRun<T>(name: string, work: () => Promise<T>): Promise<{ readonly result: T } | undefined>
}

/** Among all tabs and workers of an origin where the browser has Web Locks, else within one page. */
export function originLocks(): Locks {
  const manager = globalThis.navigator?.locks as LockManager | undefined
  if (!manager) return ownLocks
  return {
    run: async (name, signal, work) => await manager.request(name, signal ? { signal } : {}, () => work()),
    tryRun: async (name, work) =>
      await manager.request(name, { ifAvailable: true }, async (lock) => (lock ? { result: await work() } : undefined)),
  }
}

/** Who comes last for each name. */
const last = new Map<string, Promise<unknown>>()

const ownLocks: Locks = {
  async run(name, signal, work) {
    while (last.has(name)) await orAbort(last.get(name)!, signal)
    return hold(name, work)
  },
  async tryRun(name, work) {
    return last.has(name) ? undefined : { result: await hold(name, work) }
  },
}

async function hold<T>(name: string, work: () => Promise<T>): Promise<T> {
  const held = work()
  const settled = held.catch(() => {})
  last.set(name, settled)
  try {
    return await held
  } finally {
    last.delete(name)
  }
}

async function orAbort(wait: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted()
  if (!signal) return void (await wait)
  let stop = () => {}
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason)
    signal.addEventListener("abort", stop)
  })
  try {
    await Promise.race([wait, aborted])
  } finally {
    signal.removeEventListener("abort", stop)
  }
}
