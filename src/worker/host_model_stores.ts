import type { EngineApi, HostWire } from "./host_wire.ts"
import type { Context, Handlers } from "./served.ts"
import type { ModelStoreMethod, StoreEvent, StoreMethods, WireModelStore } from "./store_protocol.ts"

type Store = ReturnType<NonNullable<EngineApi["modelStore"]>>

/** What the page asks of the models that the browser keeps: bytes come, are hashed and written here. */
export function modelStoreHandlers(api: EngineApi, wire: HostWire): Handlers<StoreMethods> {
  const storeOf = (options: WireModelStore): Store => {
    if (api.modelStore) return api.modelStore(options)
    throw new TypeError("models: modelStore is missing, expected an engine in a browser")
  }
  return {
    downloadModel: ({ store, id, options }, context) =>
      storeOf(store).download(id, { ...options, ...storeListeners(context) }),
    importModel: ({ store, from, options }, context) =>
      storeOf(store).import(wire.folder(from), { ...options, ...storeListeners(context) }),
    modelFiles: async ({ store, id }) => {
      const files = await storeOf(store).files(id)
      return files.map((file) => ({ path: file.name, blob: file.slice() }))
    },
    askModelStore: ({ store, method, args }) => ask(storeOf(store), method, args),
  }
}

function storeListeners({ signal, tell }: Context<StoreEvent>) {
  return {
    signal,
    onProgress: (progress: Extract<StoreEvent, { progress: unknown }>["progress"]) => tell({ progress }),
    onWait: () => tell({ waits: true }),
  }
}

function ask(store: Store, method: ModelStoreMethod, args: readonly unknown[]): Promise<unknown> {
  const call = store[method] as (...args: readonly unknown[]) => Promise<unknown>
  return call.apply(store, [...args])
}
