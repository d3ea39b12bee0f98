import type { Device } from "../kernels/device.ts"
import type { Network } from "./network.ts"
import { commonLength, firstSeen, type Prefix } from "./prefix.ts"
import { FILE_VERSION, layoutOf, PrefixFile, prefixBytes, writePrefix, writeSlots } from "./prefix_file.ts"
import { adaptersDigest } from "./prefix_identity.ts"
import { makeRoom, type PrefixStore } from "./prefix_store.ts"
import { sha256Text } from "./sha256.ts"

/** A beginning that is shorter is computed anew, and a file has at least so many tokens that no other is known to have. */
export const LEAST_SAVED = 256
/** The files that this makes, and the only ones that it opens or removes. */
const NAMES = /^[0-9a-f]{32}-\d+-[0-9a-f]{16}\.safetensors$/

export interface SavedPrefixOptions {
  readonly store: PrefixStore
  /** Bytes that the store may take; beyond them the files go that were not used for longest. */
  readonly maxBytes: number
  /** Learns of files that could not be used or written, and why. Nothing else comes of it: prompts are computed then. */
  readonly onSkip?: ((reason: string) => void) | undefined
  /** A digest of the weights, and of what else decides about keys and values but the adapters. */
  readonly model: string
}

/** What saved prefixes are of. */
export interface PrefixOwner {
  readonly device: Device
  readonly network: Network
  readonly prefix: Prefix
  readonly context: number
}

/** Keeps what a model has of long prompts in a store, and goes on from there when a later prompt begins alike. */
export class SavedPrefixes {
  readonly #owner: PrefixOwner
  readonly #options: SavedPrefixOptions
  #identity: Promise<string> | undefined
  /** The tokens of the file last read or written. */
  #known: readonly number[] = []

  constructor(owner: PrefixOwner, options: SavedPrefixOptions) {
    this.#owner = owner
    this.#options = options
  }

  /** Must be called after other adapters were put on. */
  adapted(): void {
    this.#identity = undefined
    this.#known = []
  }

  /**
   * Fills the cache from the file that has most of these tokens, where that saves at least LEAST_SAVED of them.
   *
   * @param here how many the cache has already
   * @returns how many it has then
   */
  async load(ids: readonly number[], here: number, signal?: AbortSignal): Promise<number> {
    if (ids.length - here < LEAST_SAVED) return here
    try {
      const found = await this.#find(ids, here + LEAST_SAVED)
      signal?.throwIfAborted()
      return found ? await this.#fill(found.file, found.at) : here
    } finally {
      await this.#try(() => this.#options.store.close?.())
    }
  }

  /** Saves what the cache has of these tokens, if that is much more than what was saved before. */
  async save(ids: readonly number[]): Promise<void> {
    const { device, prefix } = this.#owner
    const { store, maxBytes } = this.#options
    if (ids.length - commonLength(ids, this.#known) < LEAST_SAVED) return
    await this.#try(async () => {
      await prefix.settled
      const parts = prefix.parts(ids)
      if (!parts) return
      const byteLength = prefixBytes(ids, parts)
      if (byteLength > maxBytes) throw new RangeError(`prefix: is ${byteLength} bytes, expected at most ${maxBytes}`)
      await makeRoom(store, byteLength, maxBytes, NAMES)
      const name = `${await this.#group(ids)}-${ids.length}-${(await sha256Text(String(ids))).slice(0, 16)}.safetensors`
      await store.write(name, writePrefix(device, await this.#model(), ids, parts))
      this.#known = [...ids]
    })
  }

  /** The file from which most of these tokens can be had, at least `least`. */
  async #find(ids: readonly number[], least: number): Promise<{ file: PrefixFile; at: number } | undefined> {
    let best: { file: PrefixFile; at: number } | undefined
    await this.#try(async () => {
      const group = await this.#group(ids)
      for (const { name } of await this.#options.store.stored()) {
        if (!NAMES.test(name) || !name.startsWith(group)) continue
        const file = await this.#open(name)
        const at = file ? this.#reach(file, ids) : 0
        if (file && at >= (best ? best.at + 1 : least)) best = { file, at }
      }
    })
    return best
  }

  /** How many of these tokens one could go on behind. */
  #reach(file: PrefixFile, ids: readonly number[]): number {
    const { prefix } = this.#owner
    const at = commonLength(ids, file.tokens)
    const fits = prefix.kept.every((kept) => {
      return file.lowest(kept) <= (prefix.rings.includes(kept) ? firstSeen(at, kept.window) : 0)
    })
    return fits ? at : 0
  }

  async #fill(file: PrefixFile, at: number): Promise<number> {
    const { device, prefix } = this.#owner
    prefix.forget() // from here on the cache is neither what it was nor what it will be
    const lowest: number[] = []
    const filled = await this.#useFile(file.name, async () => {
      for (const [i, kept] of prefix.kept.entries()) {
        const rows = await file.read(kept, i)
        const first = Math.max(file.lowest(kept), at - kept.tensor.shape[0]!)
        writeSlots(device, kept, rows, { lowest: file.lowest(kept), first, end: at })
        lowest.push(first)
      }
      return true
    })
    if (!filled) return 0
    prefix.adopt(file.tokens.slice(0, at), lowest)
    this.#known = file.tokens
    await this.#try(() => this.#options.store.touch(file.name))
    return at
  }

  #open(name: string): Promise<PrefixFile | undefined> {
    const { prefix, context } = this.#owner
    return this.#useFile(name, async () => {
      const source = await this.#options.store.open(name)
      if (!source) return undefined // another process has removed it
      return PrefixFile.open(source, { name, model: await this.#model(), kept: prefix.kept, most: context })
    })
  }

  /** A file that is damaged will not get better and goes; one that is too long here may fit elsewhere. */
  #useFile<T>(name: string, use: () => Promise<T>): Promise<T | undefined> {
    return this.#try(async () => {
      try {
        return await use()
      } catch (error) {
        if (error instanceof SyntaxError) await this.#options.store.remove(name)
        throw error
      }
    })
  }

  /** What the store cannot do is told and left at that. */
  async #try<T>(act: () => T | Promise<T>): Promise<T | undefined> {
    try {
      return await act()
    } catch (error) {
      this.#options.onSkip?.(error instanceof Error ? error.message : String(error))
      return undefined
    }
  }

  /** What files of this model and these adapters are named by that begin with the same tokens. */
  async #group(ids: readonly number[]): Promise<string> {
    return (await sha256Text(`${await this.#model()} ${ids.slice(0, LEAST_SAVED)}`)).slice(0, 32)
  }

  /** What files of this model with these adapters say that they are of. */
  #model(): Promise<string> {
    const { device, network, prefix } = this.#owner
    this.#identity ??= adaptersDigest(device, network).then((adapters) =>
      sha256Text([FILE_VERSION, this.#options.model, adapters, layoutOf(prefix.kept)].join("\n")),
    )
    return this.#identity
  }
}
