import { asApiError } from "./errors.ts"
import type { Life } from "./life.ts"

export interface StreamOptions {
  /** How long a client may leave its answer unread once the buffer is full. */
  readonly stallMs: number
  /** Silence after which a comment is sent, so that nobody in between gives the connection up. */
  readonly keepAliveMs: number
}

/** Bytes of an answer that wait for a slow reader before its model waits too: most answers fit as a whole. */
const BUFFER_BYTES = 256 * 1024

/**
 * A response of server-sent events (WHATWG HTML, 9.2): `data: JSON` for each object, `data: [DONE]` at the end. It is made when
 * the first object is there, so that what fails before has a status of its own, or after a time of silence. What fails
 * later is sent as `data: { error }`, as OpenAI does.
 *
 * @param onEnd called once, when the last byte of the response has been given away
 * @throws what `objects` throws before its first; then there is no response to end
 */
export async function eventStream(
  objects: AsyncGenerator<object, void, void>,
  life: Life,
  options: StreamOptions,
  onEnd: () => void,
): Promise<Response> {
  const first = objects.next()
  await settledOrAfter(first, options.keepAliveMs)
  const stream = new EventStream(life, options)
  void stream.send(first, objects).finally(onEnd)
  return new Response(stream.readable, {
    headers: { "Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no" },
  })
}

/** Bytes with a bounded buffer, and a bound on how long it may stay full. */
class EventStream {
  readonly readable: ReadableStream<Uint8Array>
  readonly #life: Life
  readonly #options: StreamOptions
  #controller!: ReadableStreamDefaultController<Uint8Array>
  #onRoom = () => {}
  #sent = performance.now()
  #left = false

  constructor(life: Life, options: StreamOptions) {
    this.#life = life
    this.#options = options
    const source: UnderlyingDefaultSource<Uint8Array> = {
      start: (controller) => {
        this.#controller = controller
      },
      pull: () => this.#onRoom(),
      cancel: () => {
        this.#left = true
        life.end("left")
      },
    }
    this.readable = new ReadableStream(source, new ByteLengthQueuingStrategy({ highWaterMark: BUFFER_BYTES }))
  }

  /** Sends everything to the end, or until nobody wants it. Never rejects. */
  async send(first: Promise<IteratorResult<object, void>>, objects: AsyncGenerator<object, void, void>): Promise<void> {
    const { keepAliveMs } = this.#options
    const beat = setInterval(() => this.#keepAlive(), keepAliveMs)
    try {
      for (let next = await first; !next.done; next = await objects.next()) {
        await this.#room()
        this.#enqueue(`data: ${JSON.stringify(next.value)}\n\n`)
      }
      this.#enqueue("data: [DONE]\n\n")
    } catch (error) {
      this.#enqueue(`data: ${JSON.stringify(asApiError(error).body)}\n\n`)
    } finally {
      clearInterval(beat)
      await objects.return().catch(() => {})
      if (!this.#left) this.#controller.close()
    }
  }

  #enqueue(text: string): void {
    if (this.#left) return
    this.#sent = performance.now()
    this.#controller.enqueue(new TextEncoder().encode(text))
  }

  #keepAlive(): void {
    const silent = performance.now() - this.#sent
    if (silent >= this.#options.keepAliveMs / 2 && this.#free()) this.#enqueue(": waiting\n\n")
  }

  #free(): boolean {
    return (this.#controller.desiredSize ?? 0) > 0
  }

  /** Waits until the reader has taken enough. Its life ends if that takes too long. */
  async #room(): Promise<void> {
    const { signal } = this.#life
    if (this.#free() || signal.aborted) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.#life.end("slow"), this.#options.stallMs)
      this.#onRoom = () => {
        clearTimeout(timer)
        signal.removeEventListener("abort", this.#onRoom)
        this.#onRoom = () => {}
        resolve()
      }
      signal.addEventListener("abort", this.#onRoom)
    })
  }
}

/** Waits for a promise, but not longer than that. Throws what it throws. */
async function settledOrAfter(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const patience = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  try {
    await Promise.race([promise, patience])
  } finally {
    clearTimeout(timer)
  }
}
