import { ApiError } from "./errors.ts"

/** Why a request ends before its answer does: its client left or reads too slowly, its time is up, the server closes. */
export type LifeEnd = "left" | "slow" | "time" | "closing"

const ERRORS: Readonly<Record<LifeEnd, () => ApiError>> = {
  left: () =>
    new ApiError(499, "request: the client left, expected it to wait for its answer", { code: "client_left" }),
  slow: () =>
    new ApiError(408, "request: the client reads too slowly, expected it to keep up", { code: "slow_client" }),
  time: () =>
    unavailable("request: its time is up before the first token, expected a turn within the limit", "timeout"),
  closing: () => unavailable("server: is closing, expected one that takes requests", "closing"),
}

export function unavailable(message: string, code: string): ApiError {
  return new ApiError(503, message, { type: "server_error", code })
}

/** How long a request lives. One signal tells the model, whatever the reason. */
export class Life {
  readonly #controller = new AbortController()
  readonly #client: AbortSignal
  readonly #timer: ReturnType<typeof setTimeout>
  readonly #onLeave = () => this.end("left")
  #ended: LifeEnd | undefined

  constructor(client: AbortSignal, timeoutMs: number) {
    this.#client = client
    this.#timer = setTimeout(() => this.end("time"), timeoutMs)
    // Not AbortSignal.any: its results stay attached to a signal that lives long.
    client.addEventListener("abort", this.#onLeave)
    if (client.aborted) this.#onLeave()
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Why it ended; undefined while it lives. */
  get ended(): LifeEnd | undefined {
    return this.#ended
  }

  /** Whether there is somebody to give to what there is of an answer. */
  get keepsAnswer(): boolean {
    return this.#ended === "time" || this.#ended === "closing"
  }

  end(why: LifeEnd): void {
    if (this.#ended !== undefined) return
    this.#ended = why
    this.dispose()
    this.#controller.abort(ERRORS[why]())
  }

  /** The request is over: nothing can end it any more. */
  dispose(): void {
    clearTimeout(this.#timer)
    this.#client.removeEventListener("abort", this.#onLeave)
  }
}
