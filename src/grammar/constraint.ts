import { Automaton, type State } from "./automaton.ts"
import { type Schema, schemaNode } from "./schema.ts"
import { type TokenTexts, Vocabulary } from "./vocabulary.ts"

/** So many masks are kept of a schema: 16 MiB of a vocabulary of 262,144. */
const MOST_MASKS = 512
/** So many schemas are kept of a tokenizer. */
const MOST_SCHEMAS = 16

/** A schema over the tokens of a model: which may come next, whatever came before. */
export class Constraint {
  readonly vocabulary: Vocabulary
  readonly automaton: Automaton
  readonly #masks = new Map<State, Uint32Array<ArrayBuffer>>()

  constructor(vocabulary: Vocabulary, automaton: Automaton) {
    this.vocabulary = vocabulary
    this.automaton = automaton
  }

  /** `[ceil(V / 32)]`: a bit for each token whose whole text may come in a state. Not to be written to. */
  mask(state: State): Uint32Array<ArrayBuffer> {
    const mask = this.#masks.get(state) ?? this.#computed(state)
    makeNewest(this.#masks, state, mask, MOST_MASKS)
    return mask
  }

  /** Walks the tree of tokens with the automaton; where a byte may not come, none of its subtree may. */
  #computed(state: State): Uint32Array<ArrayBuffer> {
    const { automaton, vocabulary } = this
    const { byte, depth, behind, firstId, ids } = vocabulary
    const mask = new Uint32Array(Math.ceil(vocabulary.size / 32))
    const path = [state] // the state at each depth
    automaton.begin()
    for (let node = 0; node < byte.length; ) {
      const next = automaton.step(path[depth[node]! - 1]!, byte[node]!)
      if (next === null) {
        node = behind[node]!
        continue
      }
      path[depth[node]!] = next
      for (let i = firstId[node]!; i < firstId[node + 1]!; i++) mask[ids[i]! >> 5]! |= 1 << (ids[i]! & 31)
      node++
    }
    return mask
  }
}

/** One answer under a constraint: what of it has come so far. */
export class ConstrainedText {
  readonly #constraint: Constraint
  readonly #ends: readonly number[]
  #state: State

  /** @param ends tokens that end the answer, of which one may come as soon as the text is whole */
  constructor(constraint: Constraint, ends: Iterable<number>) {
    this.#constraint = constraint
    this.#ends = [...ends].filter((id) => id < constraint.vocabulary.size)
    this.#state = constraint.automaton.start
  }

  /** Whether the text is whole, and nothing can be added to it. */
  get final(): boolean {
    return this.#state.final
  }

  /**
   * `[ceil(V / 32)]`: bit `v % 32` of word `v / 32` allows token v. The same array as long as nothing changes.
   *
   * @throws {RangeError} where the vocabulary has no token to go on with
   */
  bits(): Uint32Array<ArrayBuffer> {
    const mask = this.#constraint.mask(this.#state)
    const { whole } = this.#state
    const wrong = this.#ends.filter((id) => (((mask[id >> 5]! >>> (id & 31)) & 1) === 1) !== whole)
    const bits = wrong.length > 0 ? mask.slice() : mask
    for (const id of wrong) bits[id >> 5]! ^= 1 << (id & 31)
    if (bits.some((word) => word !== 0)) return bits
    throw new RangeError("generate: the vocabulary has no token to go on with, expected one for each byte of JSON")
  }

  /**
   * Takes the token that comes next.
   *
   * @throws {RangeError} for one that bits() does not allow, as is drawn where the model's logits are not finite
   */
  push(token: number): void {
    if (this.#ends.includes(token) && this.#state.whole) return
    let state: State | null = this.#state
    const bytes = this.#constraint.vocabulary.bytesOf(token)
    for (const byte of bytes) state = state && this.#constraint.automaton.step(state, byte)
    if (state === null || bytes.length === 0) {
      throw new RangeError(
        `generate: token ${token} is drawn, expected one that the schema allows (are logits finite?)`,
      )
    }
    this.#state = state
  }
}

/** What is kept of a tokenizer. */
interface Known {
  readonly vocabulary: Vocabulary
  readonly constraints: Map<string, Constraint>
}

const byTexts = new WeakMap<TokenTexts, Known>()

/**
 * The constraint of a schema; what one schema has learnt is kept for the next time. The first of a tokenizer reads its whole
 * vocabulary, which takes about a second where that is large.
 *
 * @param size of the model's vocabulary
 * @throws {RangeError | TypeError} for a schema that cannot be held to, with the place and what is wrong
 */
export function constraintOf(texts: TokenTexts, size: number, schema: Schema): Constraint {
  const automaton = new Automaton(schemaNode(schema)) // what is wrong is found before anything long begins
  let known = byTexts.get(texts)
  if (known?.vocabulary.size !== size) {
    known = { vocabulary: new Vocabulary(texts, size), constraints: new Map() }
    byTexts.set(texts, known)
  }
  const { vocabulary, constraints } = known
  const key = JSON.stringify(schema)
  const constraint = constraints.get(key) ?? new Constraint(vocabulary, automaton)
  makeNewest(constraints, key, constraint, MOST_SCHEMAS)
  return constraint
}

/** Puts an entry at the end of a map, and drops the oldest where there are too many. */
function makeNewest<K, V>(map: Map<K, V>, key: K, value: V, most: number): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > most) map.delete(map.keys().next().value!)
}
