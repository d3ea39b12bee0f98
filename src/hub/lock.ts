import { randomUUID } from "node:crypto"
import { link, mkdir, open, readFile, rename, rm, stat, utimes } from "node:fs/promises"
import { hostname } from "node:os"
import { dirname } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

interface Holder {
  token: string
  pid: number
  host: string
}

/**
 * Runs `work` while no other process holds `path`. The holder touches the file to show life; a lock whose holder is
 * gone (its process does not exist, or no sign of life for `stale` ms of the waiter's own clock) is taken over.
 */
export async function withLock<T>(
  path: string,
  options: { stale: number; signal?: AbortSignal | undefined; onWait?: () => Promise<void> },
  work: () => Promise<T>,
): Promise<T> {
  const own: Holder = { token: randomUUID(), pid: process.pid, host: hostname() }
  await mkdir(dirname(path), { recursive: true })
  await acquire(path, own, options)
  const alive = setInterval(() => utimes(path, new Date(), new Date()).catch(() => {}), options.stale / 5)
  try {
    return await work()
  } finally {
    clearInterval(alive)
    if ((await holderOf(path))?.token === own.token) await rm(path, { force: true })
  }
}

async function acquire(path: string, own: Holder, options: Parameters<typeof withLock>[1]): Promise<void> {
  let seen = ""
  let since = performance.now()
  while (!(await create(path, own))) {
    options.signal?.throwIfAborted()
    const mtime = await stat(path).then(
      (s) => s.mtimeMs,
      () => 0,
    )
    const holder = await holderOf(path)
    const sign = `${holder?.token} ${mtime}`
    if (sign !== seen) {
      seen = sign
      since = performance.now()
    }
    const abandoned = performance.now() - since > options.stale || (holder !== undefined && isGone(holder))
    if (abandoned) {
      await takeAway(path, holder?.token, own)
    } else {
      await options.onWait?.()
      await sleep(Math.min(200, options.stale / 5), undefined, { signal: options.signal }).catch(() => {})
    }
  }
}

async function create(path: string, own: Holder): Promise<boolean> {
  try {
    const handle = await open(path, "wx")
    await handle.writeFile(JSON.stringify(own)).finally(() => handle.close())
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false
    throw error
  }
}

/** Moves an abandoned lock aside, and puts it back if another process had already replaced it. */
async function takeAway(path: string, abandoned: string | undefined, own: Holder): Promise<void> {
  const aside = `${path}.${own.token}`
  try {
    await rename(path, aside)
  } catch {
    return // someone else was faster
  }
  if ((await holderOf(aside))?.token !== abandoned) await link(aside, path).catch(() => {})
  await rm(aside, { force: true })
}

/** Undefined while the file is being written, or when it is gone. */
async function holderOf(path: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Holder
  } catch {
    return undefined
  }
}

function isGone(holder: Holder): boolean {
  if (holder.host !== hostname()) return false
  try {
    process.kill(holder.pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH"
  }
}
