import type { Store } from "../model/store.ts"

/**
 * Writes a file chunk by chunk, each when the next step is asked for. To leave before the end leaves no file.
 *
 * @throws whatever the chunks or the store fail with
 */
export async function* writeInSteps(
  store: Store,
  file: string,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<void, void, undefined> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const writer = writable.getWriter()
  const reader = readable.getReader()
  const writing = store.write(file, contents(reader))
  writing.catch((error) => reader.cancel(error).catch(() => {})) // or a chunk would wait for ever
  let left = true
  try {
    for await (const chunk of chunks) {
      await writer.write(chunk)
      yield
    }
    await writer.close()
    await writing
    left = false
  } catch (error) {
    left = false
    await writer.abort(error).catch(() => {}) // the stream may have failed already
    await writing // says why the store failed, or else this error
    throw error
  } finally {
    if (left) {
      await writer.abort(new Error(`${file}: nobody waits for it`)).catch(() => {})
      await writing.catch(() => {}) // this error comes back
    }
  }
}

async function* contents(reader: ReadableStreamDefaultReader<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel()
  }
}
