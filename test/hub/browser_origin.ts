// What a browser keeps for an origin, in memory: files, quota and locks, as far as the store of models uses them.

interface Space {
  quota: number
  used: number
}

/** A folder of the origin's private file system. What is written counts when it is closed. */
export class MemoryDirectory {
  readonly kind = "directory"
  readonly name: string
  readonly children = new Map<string, MemoryDirectory | MemoryFile>()
  readonly #space: Space

  constructor(name: string, space: Space) {
    this.name = name
    this.#space = space
  }

  async getDirectoryHandle(name: string, { create = false } = {}): Promise<MemoryDirectory> {
    const found = this.#find(name, "directory") ?? (create ? new MemoryDirectory(name, this.#space) : undefined)
    if (!found) throw new DOMException(`${name} is not there`, "NotFoundError")
    this.children.set(name, found)
    return found as MemoryDirectory
  }

  async getFileHandle(name: string, { create = false } = {}): Promise<MemoryFile> {
    const found = this.#find(name, "file") ?? (create ? new MemoryFile(name, this.#space) : undefined)
    if (!found) throw new DOMException(`${name} is not there`, "NotFoundError")
    this.children.set(name, found)
    return found as MemoryFile
  }

  async removeEntry(name: string, { recursive = false } = {}): Promise<void> {
    const found = this.children.get(name)
    if (!found) throw new DOMException(`${name} is not there`, "NotFoundError")
    if (found.kind === "directory" && found.children.size > 0 && !recursive) {
      throw new DOMException(`${name} is not empty`, "InvalidModificationError")
    }
    this.#space.used -= sizeOf(found)
    this.children.delete(name)
  }

  async *entries(): AsyncGenerator<[string, MemoryDirectory | MemoryFile]> {
    yield* [...this.children]
  }

  /** The folder as it is now: what a tab leaves that is killed. */
  copy(space: Space): MemoryDirectory {
    const copy = new MemoryDirectory(this.name, space)
    for (const [name, child] of this.children) copy.children.set(name, child.copy(space))
    return copy
  }

  /** The path of every file in it. */
  paths(): string[] {
    const below = ([name, child]: [string, MemoryDirectory | MemoryFile]) =>
      child.kind === "file" ? [name] : child.paths().map((path) => `${name}/${path}`)
    return [...this.children].flatMap(below).sort()
  }

  #find(name: string, kind: string): MemoryDirectory | MemoryFile | undefined {
    if (name === "" || name === "." || name === ".." || name.includes("/")) throw new TypeError(`${name} is no name`)
    const found = this.children.get(name)
    if (!found || found.kind === kind) return found
    throw new DOMException(`${name} is a ${found.kind}`, "TypeMismatchError")
  }
}

export class MemoryFile {
  readonly kind = "file"
  readonly name: string
  bytes = new Uint8Array(0)
  modified = 0
  readonly #space: Space

  constructor(name: string, space: Space) {
    this.name = name
    this.#space = space
  }

  async getFile(): Promise<File> {
    return new File([this.bytes], this.name, { lastModified: this.modified })
  }

  async createWritable() {
    const space = this.#space
    const parts: Uint8Array<ArrayBuffer>[] = []
    let written = 0
    let isOpen = true
    const end = () => {
      isOpen = false
      space.used -= written
    }
    return {
      write: async (data: string | Uint8Array): Promise<void> => {
        if (!isOpen) throw new TypeError("the stream is closed")
        const bytes = typeof data === "string" ? new TextEncoder().encode(data) : Uint8Array.from(data)
        if (space.used + bytes.length > space.quota) {
          end()
          throw new DOMException("the quota is exceeded", "QuotaExceededError")
        }
        parts.push(bytes)
        written += bytes.length
        space.used += bytes.length
      },
      close: async (): Promise<void> => {
        if (!isOpen) throw new TypeError("the stream is closed")
        isOpen = false
        space.used -= this.bytes.length
        this.bytes = new Uint8Array(await new Blob(parts).arrayBuffer())
        this.modified = Date.now()
      },
      abort: async (): Promise<void> => {
        if (isOpen) end()
      },
    }
  }

  copy(space: Space): MemoryFile {
    const copy = new MemoryFile(this.name, space)
    copy.bytes = this.bytes.slice()
    copy.modified = this.modified
    return copy
  }
}

/** `navigator`, as far as it is asked. */
export class FakeNavigator {
  space: Space = { quota: 1e9, used: 0 }
  root = new MemoryDirectory("", this.space)
  persisted = false
  readonly locks: LockManager | undefined
  readonly storage = {
    getDirectory: async () => this.root,
    estimate: async () => ({ quota: this.space.quota, usage: this.space.used }),
    persisted: async () => this.persisted,
    persist: async () => {
      this.persisted = true
      return true
    },
  }

  constructor({ locks = true } = {}) {
    this.locks = locks ? fakeLocks() : undefined
  }

  /** The tab is killed: what was not closed is lost, and what it does from now on happens nowhere. */
  kill(): void {
    this.space = { quota: this.space.quota, used: sizeOf(this.root) }
    this.root = this.root.copy(this.space)
  }
}

function sizeOf(entry: MemoryDirectory | MemoryFile): number {
  if (entry.kind === "file") return entry.bytes.length
  return [...entry.children.values()].reduce((sum, child) => sum + sizeOf(child), 0)
}

/** Web Locks: exclusive ones, waited for in order. */
function fakeLocks(): LockManager {
  const held = new Map<string, Promise<unknown>>()
  async function request(
    name: string,
    { ifAvailable = false, signal }: LockOptions,
    work: (lock: unknown) => Promise<unknown>,
  ) {
    signal?.throwIfAborted()
    if (ifAvailable && held.has(name)) return work(null)
    const before = held.get(name)
    let release = () => {}
    const mine = new Promise<void>((resolve) => {
      release = resolve
    })
    const chain = Promise.all([before, mine])
    held.set(name, chain)
    void chain.then(() => held.get(name) === chain && held.delete(name))
    try {
      const aborted = new Promise<never>((_, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason))
      })
      await Promise.race([before, aborted])
      return await work({ name })
    } finally {
      release()
    }
  }
  return { request } as unknown as LockManager
}
