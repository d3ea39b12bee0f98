import { bringDropped } from "../adapters/adapters.ts"
import { areAdapter } from "../adapters/peft_files.ts"
import { importFile } from "../chat/conversations.ts"
import { chooseFiles } from "../models/choose.ts"
import { go } from "../state/route.ts"
import { notice } from "../state/store.ts"
import { isExampleFile } from "../train/examples.ts"
import { pickExamples } from "../train/examples_field.tsx"
import { droppedFiles } from "./files.ts"

/** Takes what is dropped anywhere on the page, which the browser would open in its place. */
export function followDrops(): void {
  addEventListener("dragover", (event) => event.preventDefault())
  addEventListener("drop", (event) => {
    event.preventDefault()
    if (event.dataTransfer?.types.includes("Files")) void take(event.dataTransfer)
  })
}

async function dropExamples(files: readonly File[]): Promise<void> {
  go("#/adapters")
  await pickExamples(files)
}

/** Conversations that were exported, an adapter's files, examples to learn from or a model's files. */
async function take(transfer: DataTransfer): Promise<void> {
  try {
    const files = await droppedFiles(transfer)
    if (areAdapter(files)) await bringDropped(files)
    else if (files.length > 0 && files.every(({ name }) => isExampleFile(name))) await dropExamples(files)
    else if (files.length === 1 && files[0]!.name.endsWith(".json")) await importFile(files[0]!)
    else if (files.length > 0) await chooseFiles(files)
  } catch (error) {
    notice.value = { text: `What was dropped could not be read: ${String(error)}`, alert: true }
  }
}
