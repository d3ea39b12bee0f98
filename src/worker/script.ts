// What a Worker runs, or a SharedWorker for every page that connects to it.

import * as browser from "../browser.ts"
import { type EnginePort, serveEngine } from "./host.ts"

const api = { ...browser, openStore: browser.privateStore }

if ("onconnect" in globalThis) {
  globalThis.addEventListener("connect", (event) => serveEngine((event as MessageEvent).ports[0]!, api))
} else {
  serveEngine(globalThis as unknown as EnginePort, api)
}
