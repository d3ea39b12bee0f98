import { type DBSchema, type IDBPDatabase, openDB } from "idb"
import type { Adapter } from "./adapter.ts"
import type { Conversation, Summary } from "./conversation.ts"

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation; indexes: { updated: number } }
  adapters: { key: string; value: Adapter }
  /** What an adapter learns from, as JSON lines, by the adapter's id. */
  records: { key: string; value: string }
}

const NAME = "gemlet"
const VERSION = 2

let opened: Promise<IDBPDatabase<Schema>> | undefined

/** Other tabs of this page hear of what is written here. */
const others = new BroadcastChannel("gemlet-conversations")
const otherAdapters = new BroadcastChannel("gemlet-adapters")

function database(): Promise<IDBPDatabase<Schema>> {
  opened ??= openDB<Schema>(NAME, VERSION, {
    upgrade(db, version) {
      if (version < 1) db.createObjectStore("conversations", { keyPath: "id" }).createIndex("updated", "updated")
      if (version < 2) {
        db.createObjectStore("adapters", { keyPath: "id" })
        db.createObjectStore("records")
      }
    },
    blocking(_current, _wanted, event) {
      // A newer page in another tab waits for this one to let go.
      ;(event.target as IDBDatabase).close()
      opened = undefined
    },
    terminated() {
      opened = undefined
    },
  })
  opened.catch(() => {
    opened = undefined
  })
  return opened
}

/** What there is, the latest first. */
export async function listConversations(): Promise<Summary[]> {
  return (await allConversations()).map(({ id, title, updated }) => ({ id, title, updated }))
}

/** All conversations whole, the latest first. */
export async function allConversations(): Promise<Conversation[]> {
  return (await (await database()).getAllFromIndex("conversations", "updated")).reverse()
}

/** The ids of those in whose title or turns all words of the query occur. */
export async function searchConversations(query: string): Promise<Set<string>> {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean)
  const found = (await allConversations()).filter(({ title, turns }) => {
    const text = [title, ...turns.map((turn) => turn.text)].join("\n").toLowerCase()
    return words.every((word) => text.includes(word))
  })
  return new Set(found.map(({ id }) => id))
}

export async function readConversation(id: string): Promise<Conversation | undefined> {
  return (await database()).get("conversations", id)
}

export async function writeConversation(conversation: Conversation): Promise<void> {
  await (await database()).put("conversations", conversation)
  others.postMessage(conversation.id)
}

/** Adds conversations; one whose id is taken by another gets an id of its own, one that is here already is left out. */
export async function addConversations(conversations: readonly Conversation[]): Promise<number> {
  const db = await database()
  const transaction = db.transaction("conversations", "readwrite")
  let added = 0
  for (const given of conversations) {
    const present = await transaction.store.get(given.id)
    if (present && JSON.stringify(present.turns) === JSON.stringify(given.turns)) continue
    await transaction.store.put(present ? { ...given, id: crypto.randomUUID() } : given)
    added++
  }
  await transaction.done
  others.postMessage(undefined)
  return added
}

export async function deleteConversation(id: string): Promise<void> {
  await (await database()).delete("conversations", id)
  others.postMessage(id)
}

/** Calls back when another tab has written a conversation, or several without an id. */
export function onOthersWrite(hear: (id: string | undefined) => void): void {
  others.addEventListener("message", ({ data }) => hear(data))
}

/** The adapters that the page keeps, the latest first. */
export async function listAdapters(): Promise<Adapter[]> {
  return (await (await database()).getAll("adapters")).sort((a, b) => b.created - a.created)
}

export async function readAdapter(id: string): Promise<Adapter | undefined> {
  return (await database()).get("adapters", id)
}

export async function writeAdapter(adapter: Adapter): Promise<void> {
  await (await database()).put("adapters", adapter)
  otherAdapters.postMessage(adapter.id)
}

/** Changes what is kept of an adapter, unless it was deleted meanwhile; gives what it is then. */
export async function changeAdapter(id: string, change: (adapter: Adapter) => Adapter): Promise<Adapter | undefined> {
  const transaction = (await database()).transaction("adapters", "readwrite")
  const before = await transaction.store.get(id)
  const after = before && change(before)
  if (after) await transaction.store.put(after)
  await transaction.done
  if (after) otherAdapters.postMessage(id)
  return after
}

/** Forgets an adapter and what it learns from. Its files are not here. */
export async function deleteAdapter(id: string): Promise<void> {
  const transaction = (await database()).transaction(["adapters", "records"], "readwrite")
  await Promise.all([
    transaction.objectStore("adapters").delete(id),
    transaction.objectStore("records").delete(id),
    transaction.done,
  ])
  otherAdapters.postMessage(id)
}

/** Keeps what an adapter learns from: JSON lines. */
export async function writeRecords(id: string, text: string): Promise<void> {
  await (await database()).put("records", text, id)
}

export async function readRecords(id: string): Promise<string | undefined> {
  return (await database()).get("records", id)
}

/** Calls back when another tab has written or deleted an adapter. */
export function onOthersWriteAdapters(hear: (id: string) => void): void {
  otherAdapters.addEventListener("message", ({ data }) => hear(data))
}
