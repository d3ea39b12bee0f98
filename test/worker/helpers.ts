import { onTestFinished } from "vitest"
import * as gemlet from "../../src/index.ts"
import { Engine } from "../../src/worker/engine.ts"
import { type EngineApi, serveEngine } from "../../src/worker/host.ts"

/** What an engine in Node does its work with. */
export const api: EngineApi = { ...gemlet, openStore: gemlet.directoryStore }

/** An engine at the other end of a channel, and that end. Ends with the test, or when the caller says so. */
export function connect(part: Partial<EngineApi> = {}): { engine: Engine; port: MessagePort } {
  const { port1, port2 } = new MessageChannel()
  serveEngine(port2, { ...api, ...part })
  return { engine: new Engine(port1), port: port2 }
}

/** The same for one test. */
export function connectForTest(part: Partial<EngineApi> = {}): { engine: Engine; port: MessagePort } {
  const connected = connect(part)
  onTestFinished(() => connected.engine.terminate())
  return connected
}

/** An api that hands out its models, so that a test sees both ends. */
export function spied(): { part: Partial<EngineApi>; models: gemlet.LanguageModel[] } {
  const models: gemlet.LanguageModel[] = []
  const load: EngineApi["load"] = async (...args) => {
    const lm = await gemlet.load(...args)
    models.push(lm)
    return lm
  }
  return { part: { load }, models }
}

export async function drain<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}
