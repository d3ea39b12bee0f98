import { type DBSchema, type IDBPDatabase, openDB } from "idb"
import type { Conversation, Summary } from "./conversation.ts"

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation; indexes: { updated: number } }
}

const NAME = "gemlet"
const VERSION = 1

let opened: Promise<IDBPDatabase<Schema>> | undefined

/** Other tabs of this page hear of what is written here. */
const others = new BroadcastChannel("gemlet-conversations")

function database(): Promise<IDBPDatabase<Schema>> {
  opened ??= openDB<Schema>(NAME, VERSION, {
    upgrade(db) {
      db.createObjectStore("conversations", { keyPath: "id" }).createIndex("updated", "updated")
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
