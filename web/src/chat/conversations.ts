// What can be done with conversations: each change is on the screen and in the database.

import { go, rename } from "../state/route.ts"
import { conversation, live, notice, summaries, view } from "../state/store.ts"
import { type Conversation, newConversation } from "../storage/conversation.ts"
import {
  addConversations,
  allConversations,
  deleteConversation,
  listConversations,
  onOthersWrite,
  readConversation,
  writeConversation,
} from "../storage/database.ts"
import { exportText, readExport } from "../storage/transfer.ts"
import { fileNameOf, saveFile } from "../ui/files.ts"

/** Deleted here: an answer that was underway may still want to be written. */
const removed = new Set<string>()

/** Reads the list, and keeps up with other tabs. */
export async function openConversations(): Promise<void> {
  await refresh()
  onOthersWrite((id) => {
    void refresh()
    if (id !== undefined && id === conversation.value?.id && live.value?.conversation !== id) void reread(id)
  })
}

/** Shows a conversation, or a new one. */
export async function show(id: string | undefined): Promise<void> {
  const open = conversation.value
  if (open && (id === undefined ? open.turns.length === 0 : id === open.id)) return
  const found = id === undefined ? undefined : await attempt(() => readConversation(id))
  conversation.value = found ?? newConversation()
  if (id !== undefined && !found) rename("#/")
}

/** Takes a changed conversation over, and keeps it if it has a turn. */
export async function keep(changed: Conversation): Promise<void> {
  if (removed.has(changed.id)) return
  if (conversation.value?.id === changed.id) {
    conversation.value = changed
    if (changed.turns.length > 0 && view.value === "chat") rename(`#/chat/${changed.id}`)
  }
  if (changed.turns.length === 0) return
  const { id, title, updated } = changed
  summaries.value = [{ id, title, updated }, ...summaries.value.filter((each) => each.id !== id)]
  await attempt(() => writeConversation(changed))
}

export async function renameConversation(id: string, title: string): Promise<void> {
  const found = await attempt(() => readConversation(id))
  if (!found) return
  const changed = { ...found, title, named: true }
  if (conversation.value?.id === id) conversation.value = { ...conversation.value, title, named: true }
  summaries.value = summaries.value.map((each) => (each.id === id ? { ...each, title } : each))
  await attempt(() => writeConversation(changed))
}

export async function remove(id: string): Promise<void> {
  removed.add(id)
  if (live.value?.conversation === id) live.value.controller.abort()
  summaries.value = summaries.value.filter((each) => each.id !== id)
  await attempt(() => deleteConversation(id))
  if (conversation.value?.id === id) go("#/")
}

export async function exportAll(): Promise<void> {
  const all = await attempt(allConversations)
  if (all) saveFile("gemlet-conversations.json", exportText(all), "application/json")
}

export async function exportOne(id: string): Promise<void> {
  const found = await attempt(() => readConversation(id))
  if (found) saveFile(`${fileNameOf(found.title, "conversation")}.json`, exportText([found]), "application/json")
}

/** Adds the conversations of a file; all of them, or none if anything in it is wrong. */
export async function importFile(file: File): Promise<void> {
  const added = await attempt(async () => addConversations(readExport(await file.text())))
  if (added === undefined) return
  await refresh()
  notice.value = { text: `${added} conversation${added === 1 ? "" : "s"} added.`, alert: false }
}

async function refresh(): Promise<void> {
  summaries.value = (await attempt(listConversations)) ?? summaries.value
}

async function reread(id: string): Promise<void> {
  const found = await attempt(() => readConversation(id))
  if (found && conversation.value?.id === id) conversation.value = found
}

/** Does something with storage; a failure is told, and what is on the screen stays. */
async function attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    const full = error instanceof DOMException && error.name === "QuotaExceededError"
    const what = full
      ? "There is no room left on this device to keep conversations: export them and delete some."
      : `Storage: ${error instanceof Error ? error.message : String(error)}`
    notice.value = { text: what, alert: true }
    return undefined
  }
}
