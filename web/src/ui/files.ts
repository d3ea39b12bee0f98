/** Gives a text, or bytes, to the user as a file. */
export function saveFile(name: string, content: string | Blob, type: string): void {
  const url = URL.createObjectURL(new Blob([content], { type }))
  const link = document.createElement("a")
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000) // the download has begun by then
}

/** All files of what was dropped, those of folders included, each with its path. */
export async function droppedFiles(transfer: DataTransfer): Promise<File[]> {
  // Entries are to be taken now: after the first await the transfer is empty.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null)
  return (await Promise.all(entries.map((entry) => filesOf(entry)))).flat()
}

async function filesOf(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))
    // What a picker would have set: by it the engine knows which folder a file is in.
    Object.defineProperty(file, "webkitRelativePath", { value: entry.fullPath.slice(1) })
    return [file]
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader()
  const found: File[] = []
  for (;;) {
    // A reader gives a hundred at a time, and none when there are no more.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject))
    if (some.length === 0) return found
    found.push(...(await Promise.all(some.map((each) => filesOf(each)))).flat())
  }
}

/** A title as a file's name without its ending; the fallback where nothing of the title can be in one. */
export function fileNameOf(title: string, fallback: string): string {
  return (
    title
      .replace(/[^\p{L}\p{N}. _-]+/gu, "")
      .replace(/^[. ]+/, "")
      .slice(0, 60)
      .trim() || fallback
  )
}
