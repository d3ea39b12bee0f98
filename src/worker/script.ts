// What a Worker runs, or a SharedWorker for every page that connects to it.

import { handleStore, load, merge, modelStore, open, pack, privateStore, quantize } from "../browser.ts"
import { type EngineApi, type EnginePort, serveEngine } from "./host.ts"

// One by one, so that a bundler leaves out what no page can ask for.
const api: EngineApi = { load, open, merge, pack, quantize, handleStore, modelStore, openStore: privateStore }

if ("onconnect" in globalThis) {
  globalThis.addEventListener("connect", (event) => serveEngine((event as MessageEvent).ports[0]!, api))
} else {
  serveEngine(globalThis as unknown as EnginePort, api)
}
