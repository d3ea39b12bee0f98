import { choice, EMPTY, NOTHING, type Node, repeat, sequence } from "./node.ts"

/** `item` so many times, even where it may be empty. */
export function quantified(item: Node, min: number, max: number): Node {
  if (max === 0) return EMPTY
  // What may be empty fills any number of places, so only the strings that are not have to be counted.
  return nullable(item) ? repeat(nonEmpty(item), 0, max) : repeat(item, min, max)
}

function nullable(node: Node): boolean {
  switch (node.kind) {
    case "bytes":
      return false
    case "sequence":
      return node.items.every(nullable)
    case "choice":
      return node.options.some(nullable)
    case "repeat":
      return node.min === 0
    case "rule":
      return nullable(node.node)
  }
}

/** The strings of a node without the empty one. */
function nonEmpty(node: Node): Node {
  switch (node.kind) {
    case "bytes":
      return node
    case "choice":
      return choice(...node.options.map(nonEmpty))
    case "repeat":
      return sequence(node.item, repeat(node.item, Math.max(0, node.min - 1), node.max - 1))
    case "rule":
      return nonEmpty(node.node)
    case "sequence": {
      const [first, ...others] = node.items
      if (first === undefined) return NOTHING
      if (!nullable(first)) return node
      const rest = sequence(...others)
      return choice(sequence(nonEmpty(first), rest), nonEmpty(rest))
    }
  }
}
