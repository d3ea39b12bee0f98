import { type Adapter, type AdapterFactors, fixNorms, freeAdapter, uploadAdapter } from "./adapter.ts"
import type { LinearAdapter } from "./linear.ts"
import type { Model } from "./model.ts"
import type { Parameter } from "./parameter.ts"

/** The adapters that lie beside a model's weights, and which of them are on. Those that are on add up. */
export class Adapters {
  readonly #model: Model
  readonly #loaded = new Map<string, Adapter>()
  #on: readonly string[] = []

  constructor(model: Model) {
    this.#model = model
  }

  /** Names in the order of loading. */
  get names(): string[] {
    return [...this.#loaded.keys()]
  }

  /** Names of those that are on. */
  get on(): readonly string[] {
    return this.#on
  }

  /** Puts an adapter on the GPU and turns it on beside those that are. */
  add(name: string, factors: ReadonlyMap<string, AdapterFactors>): Adapter {
    if (this.#loaded.has(name)) throw new RangeError(`adapter: ${name} is loaded already, expected another name`)
    const { device, network } = this.#model
    const adapter = uploadAdapter(device, network.linears, factors)
    this.#loaded.set(name, adapter)
    this.set([...this.#on, name])
    return adapter
  }

  /** Turns these on and all others off. What is known of prompts stays known where nothing changes by it. */
  set(names: readonly string[]): void {
    const { device, network } = this.#model
    const layers = new Map<string, LinearAdapter[]>()
    for (const name of names) {
      for (const [path, { layer }] of this.get(name)) {
        const before = layers.get(path) ?? []
        if (before.some(({ dora }) => dora) || (layer.dora && before.length > 0)) {
          throw new RangeError(`adapter: ${name} is on beside another on ${path}, expected DoRA to be alone`)
        }
        layers.set(path, [...before, layer])
      }
    }
    const fixed = names.filter((name) => fixNorms(device, network.linears, this.get(name))).length > 0
    const same = names.length === this.#on.length && names.every((name, i) => name === this.#on[i])
    this.#on = [...names]
    if (fixed || !same) this.#model.adapt(layers)
  }

  /** Turns one off and gives its memory back. */
  remove(name: string): void {
    const adapter = this.get(name)
    this.set(this.#on.filter((each) => each !== name))
    this.#loaded.delete(name)
    freeAdapter(this.#model.device, adapter)
  }

  get(name: string): Adapter {
    const adapter = this.#loaded.get(name)
    if (adapter) return adapter
    throw new RangeError(`adapter: ${name} is not loaded, expected one of ${this.names.join(", ") || "none"}`)
  }

  /** What gradients can be taken with respect to, by the names of PEFT's files: of the one that is on. */
  get parameters(): Map<string, Parameter> {
    return this.#on.length === 1 ? peftParameters(this.get(this.#on[0]!)) : new Map()
  }
}

/** An adapter's parameters by the names that PEFT's files have. */
export function peftParameters(adapter: Adapter): Map<string, Parameter> {
  const named = [...adapter].flatMap(([path, { parameters }]) =>
    [...parameters].map(([key, parameter]) => [`base_model.model.${path}.${key}`, parameter] as const),
  )
  return new Map(named)
}
