import type { Page } from "playwright-core"
import type { Conversation } from "../../web/src/storage/conversation.ts"

/** What the page keeps, read past it: the texts as the model wrote them. */
export function stored(page: Page): Promise<Conversation[]> {
  return page.evaluate(
    () =>
      new Promise<Conversation[]>((resolve, reject) => {
        const opening = indexedDB.open("gemlet")
        opening.onerror = () => reject(opening.error)
        opening.onsuccess = () => {
          const all = opening.result.transaction("conversations").objectStore("conversations").getAll()
          all.onsuccess = () => {
            opening.result.close()
            resolve(all.result)
          }
          all.onerror = () => reject(all.error)
        }
      }),
  )
}

/** The texts of the turns of the only conversation. */
export async function storedTurns(page: Page): Promise<string[]> {
  const all = await stored(page)
  if (all.length !== 1) throw new RangeError(`conversations: there are ${all.length}, expected 1`)
  return all[0]!.turns.map(({ text }) => text)
}

/** A file of conversations with the texts as answers, one turn each, as the page's import takes it. */
export function importable(texts: readonly string[]): { name: string; mimeType: string; buffer: Buffer } {
  const conversations = texts.map((text, i) => ({
    id: `case-${i}`,
    title: `Case ${i}`,
    named: true,
    created: 1,
    updated: 1000 - i,
    system: "",
    turns: [{ id: `turn-${i}`, role: "assistant", text }],
  }))
  const file = { format: "gemlet-conversations", version: 1, conversations }
  return { name: "cases.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(file)) }
}
