import { importFile } from "../chat/conversations.ts"
import { chooseFiles } from "../models/choose.ts"
import { notice } from "../state/store.ts"
import { droppedFiles } from "./files.ts"

/** Takes what is dropped anywhere on the page, which the browser would open in its place. */
export function followDrops(): void {
  addEventListener("dragover", (event) => event.preventDefault())
  addEventListener("drop", (event) => {
    event.preventDefault()
    if (event.dataTransfer?.types.includes("Files")) void take(event.dataTransfer)
  })
}

/** Conversations that were exported, or a model's files. */
async function take(transfer: DataTransfer): Promise<void> {
  try {
    const files = await droppedFiles(transfer)
    if (files.length === 1 && files[0]!.name.endsWith(".json")) await importFile(files[0]!)
    else if (files.length > 0) await chooseFiles(files)
  } catch (error) {
    notice.value = { text: `What was dropped could not be read: ${String(error)}`, alert: true }
  }
}
