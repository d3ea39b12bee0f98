import { type Bytes, NOTHING, type Node, productive } from "./node.ts"

/** So many states are kept; when there are more, all are found anew as they are needed. */
const MOST_STATES = 4096
/** Steps that one question may take; a pattern of nested repetitions can ask for any number. */
const MOST_STEPS = 2_000_000

/** A place in a node and what comes behind that node: `at` items of a sequence or rounds of a repetition are done. */
class Frame {
  readonly id: number
  readonly node: Node
  readonly at: number
  /** Undefined for the end of everything. */
  readonly next: Frame | undefined
  readonly #above = new Map<Node, Map<number, Frame>>()

  constructor(id: number, node: Node, at: number, next: Frame | undefined) {
    this.id = id
    this.node = node
    this.at = at
    this.next = next
  }

  /** The one frame of a node that has this one behind it. */
  above(node: Node, at: number, newId: () => number): Frame {
    const byPlace = this.#above.get(node) ?? new Map<number, Frame>()
    if (byPlace.size === 0) this.#above.set(node, byPlace)
    const known = byPlace.get(at)
    if (known) return known
    const frame = new Frame(newId(), node, at, this)
    byPlace.set(at, frame)
    return frame
  }
}

/** All that a text read so far may go on with. States with the same future are mostly the same object. */
export class State {
  /** Whether the text may end here. */
  readonly whole: boolean
  /** Frames of bytes, each a way to go on. */
  readonly ways: readonly Frame[]
  /** By byte; null where there is none, undefined where nobody has asked. */
  readonly after: (State | null | undefined)[] = new Array(256).fill(undefined)

  constructor(ways: readonly Frame[], whole: boolean) {
    this.ways = ways
    this.whole = whole
  }

  /** Whether nothing may follow. */
  get final(): boolean {
    return this.ways.length === 0
  }
}

/**
 * Recognises the strings of a node byte by byte: a pushdown automaton, made deterministic as far as it is walked (on the fly, as in
 * Thompson, Regular expression search algorithm, Comm. ACM 11, 1968). Every state can be gone on from to the end of some string.
 */
export class Automaton {
  readonly #root: Node
  readonly #productive: ReadonlySet<Node>
  #start: State
  #states = new Map<string, State>()
  #frames = 0
  #steps = 0

  /** @throws {RangeError} when no string can be completed */
  constructor(root: Node) {
    this.#productive = productive(root)
    if (!this.#productive.has(root)) throw new RangeError("schema: no value fits it, expected one at least")
    this.#root = root
    this.#start = this.#first()
  }

  /** Where nothing has been read yet. */
  get start(): State {
    return this.#start
  }

  /** Begins a question: its steps are counted from here. States that were given before stay good. */
  begin(): void {
    this.#steps = 0
    if (this.#states.size <= MOST_STATES) return
    this.#states = new Map()
    this.#start = this.#first()
  }

  /**
   * The state after one more byte, null where it may not come.
   *
   * @throws {RangeError} when the question needs too many steps
   */
  step(state: State, byte: number): State | null {
    const known = state.after[byte]
    if (known !== undefined) return known
    this.#count(state.ways.length)
    const next = state.ways.filter((way) => (way.node as Bytes).set[byte] === 1).map((way) => way.next!)
    const after = next.length === 0 ? null : this.#state(next)
    state.after[byte] = after
    return after
  }

  #first(): State {
    const end = new Frame(this.#frames++, NOTHING, 0, undefined)
    return this.#state([this.#above(end, this.#root)])
  }

  /** The state of all that can come at some frames. */
  #state(frames: readonly Frame[]): State {
    const seen = new Set(frames)
    const ways: Frame[] = []
    let whole = false
    for (const frame of seen) {
      this.#count(1)
      if (frame.next === undefined) whole = true
      else if (frame.node.kind === "bytes") ways.push(frame)
      else for (const inner of this.#opened(frame, frame.next)) seen.add(inner) // which the loop then comes to
    }
    ways.sort((a, b) => a.id - b.id)
    const key = `${whole} ${ways.map(({ id }) => id).join(" ")}`
    const state = this.#states.get(key) ?? new State(ways, whole)
    this.#states.set(key, state)
    return state
  }

  /** What a frame leads to without a byte. */
  #opened({ node, at }: Frame, next: Frame): Frame[] {
    switch (node.kind) {
      case "bytes":
        return []
      case "rule":
        return [this.#above(next, node.node)]
      case "choice":
        return node.options.filter((each) => this.#productive.has(each)).map((each) => this.#above(next, each))
      case "sequence": {
        const item = node.items[at]
        if (item === undefined) return [next]
        // Behind the last item comes what comes behind the sequence: a recursion at the end needs no memory.
        return [this.#above(at + 1 === node.items.length ? next : this.#above(next, node, at + 1), item)]
      }
      case "repeat": {
        const { item, min, max } = node
        const leave = at >= min ? [next] : []
        if (at >= max || !this.#productive.has(item)) return leave
        // Without an upper limit rounds past the lower one are all alike.
        const done = max === Number.POSITIVE_INFINITY ? Math.min(at + 1, min) : at + 1
        return [...leave, this.#above(this.#above(next, node, done), item)]
      }
    }
  }

  #above(next: Frame, node: Node, at = 0): Frame {
    return next.above(node, at, () => this.#frames++)
  }

  #count(steps: number): void {
    this.#steps += steps
    if (this.#steps <= MOST_STEPS) return
    throw new RangeError(
      `schema: a step takes more than ${MOST_STEPS} comparisons, expected a pattern of fewer nested repetitions`,
    )
  }
}
