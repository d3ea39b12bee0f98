// Files of the origin's private file system, by paths such as `gemlet/adapters/ID`.

/** A folder, made where it is missing. The engine reads such handles in its Worker. */
export async function privateFolder(path: string): Promise<FileSystemDirectoryHandle> {
  let folder = await navigator.storage.getDirectory()
  for (const part of path.split("/")) folder = await folder.getDirectoryHandle(part, { create: true })
  return folder
}

/** A file as it is now; undefined where there is none. */
export async function readPrivateFile(path: string, name: string): Promise<File | undefined> {
  try {
    return await (await (await privateFolder(path)).getFileHandle(name)).getFile()
  } catch (error) {
    return ignoreMissing(error)
  }
}

/** Writes a file whole, or leaves what was there. */
export async function writePrivateFile(
  path: string,
  name: string,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array | Blob>,
): Promise<void> {
  const handle = await (await privateFolder(path)).getFileHandle(name, { create: true })
  const writable = await handle.createWritable() // into a copy, which takes the file's place when it is closed
  try {
    for await (const chunk of chunks) await writable.write(chunk instanceof Blob ? chunk : Uint8Array.from(chunk))
    await writable.close()
  } catch (error) {
    await writable.abort().catch(() => {}) // it is broken already
    throw error
  }
}

/** Bytes of a folder's files. */
export async function privateBytes(path: string): Promise<number> {
  let bytes = 0
  for await (const handle of (await privateFolder(path)).values()) {
    if (handle.kind !== "file") continue
    // One that has got its other name by now is counted the next time.
    const file = await (handle as FileSystemFileHandle).getFile().catch(ignoreMissing)
    bytes += file?.size ?? 0
  }
  return bytes
}

/** Removes a folder with all that is in it. */
export async function removePrivateFolder(path: string): Promise<void> {
  const at = path.lastIndexOf("/")
  await (await privateFolder(path.slice(0, at)))
    .removeEntry(path.slice(at + 1), { recursive: true })
    .catch(ignoreMissing)
}

function ignoreMissing(error: unknown): undefined {
  if (!(error instanceof DOMException && error.name === "NotFoundError")) throw error
}
