/** What comes out of a stream, to its end. Streams themselves can be looped over only where browsers are very new. */
export async function* chunksOf<T>(stream: ReadableStream<T>): AsyncGenerator<T> {
  const reader = stream.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => {}) // it may have failed, which was thrown
  }
}
