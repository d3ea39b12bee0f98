/**
 * A set of byte strings, as a graph: a rule may come again within itself. What a node stands for does not depend on where it
 * is, so nodes are shared.
 */
export type Node = Bytes | Sequence | Choice | Repeat | Rule

/** One byte of a set. */
export interface Bytes {
  readonly kind: "bytes"
  /** `[256]`: 1 for a byte of the set. */
  readonly set: Uint8Array
}

/** One after the other. */
export interface Sequence {
  readonly kind: "sequence"
  readonly items: readonly Node[]
}

/** One of them. */
export interface Choice {
  readonly kind: "choice"
  readonly options: readonly Node[]
}

/** The same `min` to `max` times. The item never is empty, so that no repetition is for nothing. */
export interface Repeat {
  readonly kind: "repeat"
  readonly item: Node
  readonly min: number
  readonly max: number
}

/** A node that is known later. */
export interface Rule {
  readonly kind: "rule"
  node: Node
}

/** The empty string. */
export const EMPTY: Node = { kind: "sequence", items: [] }
/** No string at all. */
export const NOTHING: Node = { kind: "choice", options: [] }

export function bytes(...ranges: readonly (readonly [from: number, to: number])[]): Bytes {
  const set = new Uint8Array(256)
  for (const [from, to] of ranges) set.fill(1, from, to + 1)
  return { kind: "bytes", set }
}

const SINGLE = Array.from({ length: 256 }, (_, byte) => bytes([byte, byte]))

/** The UTF-8 of a text, as it is. */
export function literal(text: string): Node {
  return { kind: "sequence", items: Array.from(new TextEncoder().encode(text), (byte) => SINGLE[byte]!) }
}

export function sequence(...items: readonly Node[]): Node {
  return items.length === 1 ? items[0]! : { kind: "sequence", items }
}

export function choice(...options: readonly Node[]): Node {
  return options.length === 1 ? options[0]! : { kind: "choice", options }
}

export function optional(node: Node): Node {
  return choice(node, EMPTY)
}

/** `item` must not be able to be empty. */
export function repeat(item: Node, min: number, max = Number.POSITIVE_INFINITY): Node {
  return min > max ? NOTHING : { kind: "repeat", item, min, max }
}

/** A rule that stands for nothing until its node is set. */
export function rule(): Rule {
  return { kind: "rule", node: NOTHING }
}

/** What a node leads to directly. */
export function children(node: Node): readonly Node[] {
  switch (node.kind) {
    case "bytes":
      return []
    case "sequence":
      return node.items
    case "choice":
      return node.options
    case "repeat":
      return [node.item]
    case "rule":
      return [node.node]
  }
}

/** The nodes that stand for at least one string. Others, such as an object that must hold itself, can never be completed. */
export function productive(root: Node): Set<Node> {
  const order = postOrder(root)
  const known = new Set<Node>()
  const can = (node: Node) => {
    if (node.kind === "bytes") return node.set.includes(1)
    if (node.kind === "repeat") return node.min === 0 || known.has(node.item)
    const parts = children(node)
    return node.kind === "sequence" ? parts.every((part) => known.has(part)) : parts.some((part) => known.has(part))
  }
  for (let before = -1; before < known.size; ) {
    before = known.size
    for (const node of order) if (!known.has(node) && can(node)) known.add(node)
  }
  return known
}

/** Every node, behind what it leads to but for rules that come again. Without recursion, as schemas may be long. */
function postOrder(root: Node): Node[] {
  const order: Node[] = []
  const seen = new Set<Node>([root])
  const path = [{ node: root, next: 0 }]
  while (path.length > 0) {
    const top = path.at(-1)!
    const child = children(top.node)[top.next++]
    if (child === undefined) order.push(path.pop()!.node)
    else if (!seen.has(child)) {
      seen.add(child)
      path.push({ node: child, next: 0 })
    }
  }
  return order
}
