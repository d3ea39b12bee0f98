import { type Checkpoint, loadBytes } from "../api.ts"
import type { EngineApi, HostWire } from "./host_wire.ts"
import type { CheckpointFacts, HostMethods, Id, LoadEvent } from "./protocol.ts"
import type { Context, Handlers } from "./served.ts"

/** What is made of checkpoints without a model: facts, and other checkpoints. */
export class HostCheckpoints {
  readonly handlers: Handlers<Pick<HostMethods, "open" | "loadBytes" | "close" | "merge" | "pack" | "quantize">>
  readonly #open = new Map<Id, Checkpoint>()
  #count = 0

  constructor(api: EngineApi, wire: HostWire) {
    this.handlers = {
      open: async ({ location, options }, context) => {
        const checkpoint = await api.open(wire.location(location), { ...options, ...listeners(context) })
        this.#open.set(++this.#count, checkpoint)
        return { checkpoint: this.#count, facts: factsOf(checkpoint) }
      },
      loadBytes: ({ checkpoint, options }) => loadBytes(this.#checkpoint(checkpoint), options),
      close: async ({ checkpoint }) => {
        const open = this.#open.get(checkpoint)
        this.#open.delete(checkpoint)
        await open?.close()
      },
      merge: ({ location, adapters, store, options }, context) => {
        const places = adapters.map((each) => wire.location(each)!)
        const all = { ...options, ...listeners(context) }
        return api.merge(wire.location(location), places, wire.store(store), all)
      },
      pack: ({ location, store, options }, context) => {
        return api.pack(wire.location(location)!, wire.store(store), { ...options, ...listeners(context) })
      },
      quantize: ({ location, store, options }, context) => {
        const onWeight = (...weight: [string, number, number]) => context.tell({ weight })
        return api.quantize(wire.location(location), wire.store(store), { ...options, ...listeners(context), onWeight })
      },
    }
  }

  /** Closes what the page has left open. */
  close(): void {
    for (const checkpoint of this.#open.values()) checkpoint.close().catch(() => {})
  }

  #checkpoint(id: Id): Checkpoint {
    const open = this.#open.get(id)
    if (open) return open
    throw new TypeError("loadBytes: checkpoint is closed, expected an open one")
  }
}

/** How loading is followed and stopped. */
export function listeners({ signal, tell }: Context<LoadEvent>) {
  return { signal, onProgress: (progress: LoadEvent["progress"]) => tell({ progress }) }
}

function factsOf({ folder, config, generation, files, metadata }: Checkpoint): CheckpointFacts {
  return { name: folder.name, config, generation, files, metadata }
}
