import type { LanguageModel } from "../api.ts"
import { ApiError, badField } from "./errors.ts"
import { type Body, field, show, stringField, stringsField } from "./fields.ts"

/** Which adapters a request wants on, and what its answer calls the model. */
export interface Choice {
  readonly id: string
  readonly adapters: readonly string[]
}

/** The names under which a model is served: its own, and one for each adapter that is loaded beside it. */
export class Models {
  readonly id: string
  readonly #lm: LanguageModel
  /** When serving began, in seconds of Unix time. */
  readonly #created = Math.floor(Date.now() / 1000)

  /** @throws {RangeError} when an adapter has the model's name */
  constructor(lm: LanguageModel, id: string) {
    this.#lm = lm
    this.id = id
    if (this.adapters.includes(id)) {
      throw new RangeError(`serve: an adapter is called ${id} as the model is, expected another name`)
    }
  }

  get adapters(): readonly string[] {
    return this.#lm.adapters.map(({ name }) => name)
  }

  /** OpenAI's list of models; an adapter's `parent` is its base. */
  list() {
    return { object: "list", data: [this.#describe(this.id), ...this.adapters.map((name) => this.#describe(name))] }
  }

  /** @throws {ApiError} 404 for another name */
  get(id: string) {
    if (id !== this.id && !this.adapters.includes(id)) throw this.#unknown(id)
    return this.#describe(id)
  }

  /** Reads `model` (the base where it is missing) and the extension `adapter`: the name of one, or an array of them. */
  choose(body: Body): Choice {
    const id = stringField(body, "model") ?? this.id
    const adapters = stringsField(body, "adapter")
    this.get(id)
    if (id !== this.id) {
      if (field(body, "adapter") !== undefined) {
        throw badField("adapter", `value is ${show(adapters)} beside model ${id}, expected it with ${this.id} only`)
      }
      return { id, adapters: [id] }
    }
    const unknown = adapters.find((name) => !this.adapters.includes(name))
    if (unknown === undefined) return { id, adapters: [...new Set(adapters)] }
    const known = this.adapters.join(", ") || "none"
    throw badField("adapter", `value is ${show(unknown)}, expected one of those loaded: ${known}`)
  }

  #describe(id: string) {
    const about = { id, object: "model", created: this.#created, owned_by: "gemlet", max_model_len: this.#lm.context }
    return id === this.id ? about : { ...about, parent: this.id }
  }

  #unknown(id: string): ApiError {
    const known = [this.id, ...this.adapters].join(", ")
    const message = `model: value is ${show(id)}, expected one of ${known}`
    return new ApiError(404, message, { param: "model", code: "model_not_found" })
  }
}
