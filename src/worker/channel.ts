import { Asked, type AskOptions } from "./asked.ts"
import type { Message, Methods } from "./messages.ts"
import { type Context, type Handlers, Served } from "./served.ts"
import { fromWire, toWire, WorkerError } from "./wire_errors.ts"

/** A Worker, a MessagePort, or what a Worker's script has of them. */
export interface EnginePort {
  postMessage(message: unknown, transfer: Transferable[]): void
  addEventListener(type: string, listener: (event: Event) => void): void
  removeEventListener(type: string, listener: (event: Event) => void): void
  /** Of a MessagePort: messages wait for it. */
  start?(): void
}

/** What a channel works with at its own end. */
export interface ChannelOptions<Serves extends Methods, Notice> {
  readonly handlers: Handlers<Serves>
  readonly onNotice?: (notice: Notice) => void
  /** Told once, when nothing can go across any more. */
  readonly onEnd?: (error: Error) => void
}

/**
 * One end of a connection: it asks the other end for some methods and answers to others. Messages arrive in the order in which
 * they were sent, so that what a notice says is known when the result after it is.
 */
export class Channel<Asks extends Methods, Serves extends Methods, Sends = never, Hears = never> {
  readonly #port: EnginePort
  readonly #options: ChannelOptions<Serves, Hears>
  readonly #asked = new Map<number, Asked>()
  readonly #served = new Map<number, Served>()
  readonly #listeners: Readonly<Record<string, (event: Event) => void>>
  #ended: Error | undefined
  #calls = 0

  constructor(port: EnginePort, options: ChannelOptions<Serves, Hears>) {
    this.#port = port
    this.#options = options
    const died = (event: Event) => this.end(new WorkerError("died", deathOf(event)))
    this.#listeners = {
      message: (event) => this.#receive((event as MessageEvent<Message<Serves, Asks, Hears>>).data),
      messageerror: died,
      error: died,
      close: died,
    }
    for (const [type, listener] of Object.entries(this.#listeners)) port.addEventListener(type, listener)
    port.start?.()
  }

  /** Why nothing can go across any more. */
  get ended(): Error | undefined {
    return this.#ended
  }

  /** Asks for a method's result. Rejects with what the other end throws. */
  call<K extends keyof Asks & string>(
    method: K,
    args: Asks[K]["args"],
    options: AskOptions<Asks[K]["event"]> = {},
  ): Promise<Asks[K]["result"]> {
    return this.#ask(method, args, 0, options).done as Promise<Asks[K]["result"]>
  }

  /**
   * Asks for a method's items, and gives its result at the end. Leaving waits until the other end has left too.
   *
   * @param ahead items that the other end may have made before they are read here
   */
  async *stream<K extends keyof Asks & string>(
    method: K,
    args: Asks[K]["args"],
    { ahead, ...options }: AskOptions<Asks[K]["event"]> & { readonly ahead: number },
  ): AsyncGenerator<Asks[K]["item"], Asks[K]["result"], void> {
    const asked = this.#ask(method, args, ahead, options)
    try {
      for (let next = await asked.next(); !next.done; next = await asked.next()) {
        yield next.item as Asks[K]["item"]
        if (!asked.settled) this.#post({ type: "pull", id: asked.id })
      }
      return (await asked.done) as Asks[K]["result"]
    } finally {
      if (!asked.settled) {
        this.#post({ type: "leave", id: asked.id })
        await asked.done
      }
    }
  }

  /** Tells the other end something. */
  notify(notice: Sends): void {
    if (!this.#ended) this.#post({ type: "notice", notice })
  }

  /** Rejects all that is asked for, stops all that is answered, and tells the other end if it still hears. */
  end(error: Error): void {
    if (this.#ended) return
    this.#ended = error
    try {
      this.#post({ type: "end", error: toWire(error) })
    } catch {} // the port may be gone
    for (const [type, listener] of Object.entries(this.#listeners)) this.#port.removeEventListener(type, listener)
    for (const asked of this.#asked.values()) asked.fail(error)
    for (const served of this.#served.values()) {
      served.cancel(error)
      served.leave()
    }
    this.#options.onEnd?.(error)
  }

  #ask<K extends keyof Asks & string>(
    method: K,
    args: Asks[K]["args"],
    ahead: number,
    { signal, onEvent }: AskOptions<Asks[K]["event"]>,
  ): Asked {
    const id = this.#calls++
    const asked = new Asked(id, signal, onEvent as ((event: unknown) => void) | undefined)
    if (this.#ended) {
      asked.fail(this.#ended)
      return asked
    }
    try {
      this.#post({ type: "call", id, method, args, ahead } as unknown as Message<Asks, Serves, Sends>)
    } catch (cause) {
      asked.fail(new TypeError(`${method}: arguments cannot go across threads, expected plain values`, { cause }))
      return asked
    }
    this.#asked.set(id, asked)
    const cancel = () => {
      if (!this.#ended) this.#post({ type: "cancel", id, reason: toWire(signal?.reason) })
    }
    signal?.addEventListener("abort", cancel, { once: true })
    if (signal?.aborted) cancel()
    const forget = () => {
      this.#asked.delete(id)
      signal?.removeEventListener("abort", cancel)
    }
    asked.done.then(forget, forget)
    return asked
  }

  #receive(message: Message<Serves, Asks, Hears>): void {
    switch (message.type) {
      case "call":
        this.#serve(message.id, message.method as keyof Serves & string, message.args, message.ahead)
        break
      case "pull":
        this.#served.get(message.id)?.pull()
        break
      case "leave":
        this.#served.get(message.id)?.leave()
        break
      case "cancel":
        this.#served.get(message.id)?.cancel(fromWire(message.reason))
        break
      case "event":
        this.#asked.get(message.id)?.tell(message.event)
        break
      case "item":
        this.#asked.get(message.id)?.give(message.item)
        break
      case "result":
        this.#asked.get(message.id)?.finish(message.result)
        break
      case "failure":
        this.#asked.get(message.id)?.fail(fromWire(message.error))
        break
      case "notice":
        this.#options.onNotice?.(message.notice)
        break
      case "end":
        this.end(new WorkerError("died", message.error.message, { cause: fromWire(message.error) }))
    }
  }

  async #serve<K extends keyof Serves & string>(
    id: number,
    method: K,
    args: Serves[K]["args"],
    ahead: number,
  ): Promise<void> {
    const send = (message: Message<Asks, Serves, Sends>, transfer?: Transferable[]) => {
      if (!this.#ended) this.#post(message, transfer)
    }
    const served = new Served(ahead)
    this.#served.set(id, served)
    const context: Context<Serves[K]["event"]> = {
      signal: served.signal,
      tell: (event) => send({ type: "event", id, event }),
    }
    try {
      const answer = this.#options.handlers[method](args, context)
      const { value, transfer } = await served.run(answer, (item, transfer) =>
        send({ type: "item", id, item }, transfer),
      )
      send({ type: "result", id, result: value }, transfer)
    } catch (error) {
      send({ type: "failure", id, error: toWire(error) })
    } finally {
      this.#served.delete(id)
    }
  }

  #post(message: Message<Asks, Serves, Sends>, transfer: Transferable[] = []): void {
    this.#port.postMessage(message, transfer)
  }
}

function deathOf(event: Event): string {
  if (event.type === "messageerror")
    return "worker: a message cannot be read at this end, expected one that was sent whole"
  if (event.type === "close") return "worker: the port is closed at the other end"
  const { message, filename, lineno } = event as ErrorEvent
  const where = filename ? ` (${filename}:${lineno})` : ""
  return `worker: ${message || "its script cannot be loaded"}${where}`
}
