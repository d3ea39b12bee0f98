import { Life } from "./life.ts"
import type { RequestEntry } from "./options.ts"
import type { Tally } from "./tally.ts"

/** A request from its coming to the last byte of its response. */
export class Visit {
  readonly life: Life
  /** What there is to tell of it when it is over. */
  readonly over: Promise<RequestEntry>
  /** What it has cost; undefined until it asks the model. */
  tally: Tally | undefined
  /** Its response goes on after its headers are there. */
  streaming = false
  #end!: (entry: RequestEntry) => void
  readonly #request: Request
  readonly #began = performance.now()

  constructor(request: Request, timeoutMs: number) {
    this.#request = request
    this.life = new Life(request.signal, timeoutMs)
    this.over = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  /** The last byte has been given away. */
  end(status: number): void {
    this.life.dispose()
    const { method, url } = this.#request
    const { promptTokens = 0, tokens = 0 } = this.tally ?? {}
    const ms = performance.now() - this.#began
    this.#end({ method, path: new URL(url).pathname, status, ms, promptTokens, tokens, cut: this.life.ended })
  }
}
