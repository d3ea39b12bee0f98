// Which adapter is on. What needs a certain one, or none, is done one after another, so that none is turned off under an answer.

import type { WorkerLanguageModel } from "../engine.ts"
import { activeRun, model } from "../state/store.ts"
import { PageError } from "../state/trouble.ts"
import { type Adapter, adapterFolder } from "../storage/adapter.ts"
import { readAdapter } from "../storage/database.ts"
import { privateFolder } from "../storage/private_files.ts"
import { fits } from "./base.ts"

/** An adapter as conversations know it: what it was called is known when it is gone. */
export type Named = Pick<Adapter, "id" | "name">

/** Adapters that stay on the GPU beside a model, those that are off included. */
const MOST_LOADED = 4

/** What is loaded of which model, by id: when it was last saved. The one that was on last is the last. */
const loaded = new WeakMap<WorkerLanguageModel, Map<string, number>>()
let queue: Promise<unknown> = Promise.resolve()

/**
 * Does something with a model while an adapter, and no other, is on; without one as the base is.
 *
 * @throws {PageError} when the adapter is gone, is for another model, or the model is being trained
 */
export function withAdapter<T>(lm: WorkerLanguageModel, wanted: Named | undefined, work: () => Promise<T>): Promise<T> {
  return inTurn(async () => {
    expectFree()
    if (wanted) await turnOn(lm, await expectFitting(wanted))
    else await turnOff(lm)
    return work()
  })
}

/**
 * Sees whether a model takes an adapter's files. Nothing of them stays.
 *
 * @throws the engine's error, which names the file
 */
export function tryFiles(lm: WorkerLanguageModel, files: readonly File[]): Promise<void> {
  return inTurn(async () => {
    expectFree()
    await turnOff(lm)
    const name = `tried-${crypto.randomUUID()}`
    try {
      await lm.loadAdapter(files, { name })
    } finally {
      // One that is refused for what is on beside it is there nevertheless.
      if (lm.adapters.some((each) => each.name === name)) await lm.removeAdapter(name)
    }
  })
}

/** Waits for what is underway. While a run is active nothing else begins. */
export async function adaptersSettled(): Promise<void> {
  await queue
}

/** Takes an adapter that was deleted off a model. */
export function forgetAdapter(lm: WorkerLanguageModel, id: string): Promise<void> {
  return inTurn(async () => {
    const stamps = loaded.get(lm)
    if (stamps?.has(id)) await takeOut(lm, stamps, id)
  })
}

function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const result = queue.then(work)
  queue = result.catch(() => {}) // told to whom it concerns
  return result
}

function expectFree(): void {
  if (!activeRun.value) return
  throw new PageError("The model is being trained", "Pause the run, or wait for its end.")
}

async function expectFitting({ id, name }: Named): Promise<Adapter> {
  const adapter = await readAdapter(id)
  if (!adapter) throw new PageError(`“${name}” is gone`, "The adapter was deleted: go on with another, or with none.")
  const { value } = model
  if (value.kind !== "ready" || !fits(adapter.base, value.choice)) {
    const text = `Load ${adapter.base.name} to go on with it, or go on without the adapter.`
    throw new PageError(`“${adapter.name}” is for another model`, text)
  }
  if (adapter.bytes === undefined) {
    throw new PageError(`“${adapter.name}” has not been saved yet`, "It can be used from the first save of its run on.")
  }
  return adapter
}

async function turnOn(lm: WorkerLanguageModel, { id, updated }: Adapter): Promise<void> {
  const stamps = loaded.get(lm) ?? new Map<string, number>()
  loaded.set(lm, stamps)
  const isHere = stamps.get(id) === updated
  if (!isHere) await bringIn(lm, stamps, id)
  else if (!isAlone(lm, nameOf(id))) await lm.setAdapters([nameOf(id)])
  stamps.delete(id)
  stamps.set(id, updated)
}

/** Loads an adapter, in the place of what it was before it was trained further, or of the one that was on longest ago. */
async function bringIn(lm: WorkerLanguageModel, stamps: Map<string, number>, id: string): Promise<void> {
  await turnOff(lm) // what is loaded is turned on beside those that are
  const oldest = stamps.keys().next().value
  if (stamps.has(id)) await takeOut(lm, stamps, id)
  else if (oldest !== undefined && stamps.size >= MOST_LOADED) await takeOut(lm, stamps, oldest)
  await lm.loadAdapter(await privateFolder(adapterFolder(id)), { name: nameOf(id) })
}

async function takeOut(lm: WorkerLanguageModel, stamps: Map<string, number>, id: string): Promise<void> {
  stamps.delete(id)
  await lm.removeAdapter(nameOf(id))
}

async function turnOff(lm: WorkerLanguageModel): Promise<void> {
  if (lm.adapters.some(({ on }) => on)) await lm.setAdapters([])
}

function isAlone(lm: WorkerLanguageModel, name: string): boolean {
  return lm.adapters.every((each) => each.on === (each.name === name))
}

/** What the engine calls it: not as a run calls the one that it trains. */
function nameOf(id: string): string {
  return `kept-${id}`
}
