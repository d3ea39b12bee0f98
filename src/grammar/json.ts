import { complement, inString, jsonCharacter, type Range } from "./characters.ts"
import {
  bytes,
  choice,
  EMPTY,
  literal,
  NOTHING,
  type Node,
  optional,
  type Rule,
  repeat,
  rule,
  sequence,
} from "./node.ts"
import { ANY_NUMBER } from "./numbers.ts"

/** A property that an object may or must have. */
export interface Member {
  readonly name: string
  readonly value: Node
  readonly required: boolean
}

/** The most spaces or tabs behind a newline: a model must not be able to go on with them for ever. */
const MOST_INDENT = 20
const ANYTHING = complement([])
/** A space, or a newline with the indent of the next line, or nothing. */
const BREAK = optional(
  choice(literal(" "), sequence(literal("\n"), repeat(bytes([0x20, 0x20], [0x09, 0x09]), 0, MOST_INDENT))),
)
const QUOTE = literal('"')
const COMMA = sequence(literal(","), BREAK)
const COLON = sequence(literal(":"), optional(literal(" ")))

const HEX = bytes([0x30, 0x39], [0x41, 0x46], [0x61, 0x66])
/** Four hexadecimal digits that are no half of a surrogate pair. */
const UNIT = choice(
  sequence(bytes([0x30, 0x39], [0x41, 0x43], [0x61, 0x63], [0x45, 0x46], [0x65, 0x66]), HEX, HEX, HEX),
  sequence(bytes([0x44, 0x44], [0x64, 0x64]), bytes([0x30, 0x37]), HEX, HEX),
)
/** One character of a string, in any way that JSON allows but as a surrogate pair. */
const CHARACTER = choice(
  jsonCharacter(complement([[0, 0x1f]])),
  sequence(literal("\\"), choice(...[..."/bfnrt"].map(literal), sequence(literal("u"), UNIT))),
)

/** A string of so many characters (code points). */
export function text(min = 0, max = Number.POSITIVE_INFINITY): Node {
  return quoted(repeat(CHARACTER, min, max))
}

export function quoted(inside: Node): Node {
  return sequence(QUOTE, inside, QUOTE)
}

/** A value as JSON.stringify writes it. */
export function constant(value: unknown): Node {
  return literal(JSON.stringify(value))
}

/**
 * An object with its members in this order, and behind them others whose names are none of theirs.
 *
 * @param others what the values of the others are; without it there are none
 */
export function object(members: readonly Member[], others?: Node): Node {
  const pair = others && sequence(quoted(nameOtherThan(members.map(({ name }) => name))), COLON, others)
  const close = sequence(BREAK, literal("}"))
  const more = pair ? sequence(repeat(sequence(COMMA, pair), 0), close) : close
  // What may come from a member on, if one has come before it and if none has.
  let [after, first] = [more, pair ? choice(literal("}"), sequence(pair, more)) : literal("}")]
  for (const { name, value, required } of members.toReversed()) {
    const member = sequence(constant(name), COLON, value, after)
    const [next, opening] = [sequence(COMMA, member), member]
    ;[after, first] = required ? [next, opening] : [choice(next, after), choice(opening, first)]
  }
  return sequence(literal("{"), BREAK, first)
}

/**
 * An array of `min` to `max` items, the first ones as in `prefix`.
 *
 * @param others what the items behind those of `prefix` are; without it there are none
 */
export function array(prefix: readonly Node[], others: Node | undefined, min: number, max: number): Node {
  if (min > max) return NOTHING
  const count = prefix.length
  const close = sequence(BREAK, literal("]"))
  const more = repeat(sequence(COMMA, others ?? NOTHING), Math.max(0, min - count), Math.max(0, max - count))
  let after: Node = sequence(more, close)
  for (let i = Math.min(count, max) - 1; i > 0; i--) after = ended(i, sequence(COMMA, prefix[i]!, after))
  if (max === 0) return sequence(literal("["), BREAK, literal("]"))
  if (count > 0) return sequence(literal("["), BREAK, ended(0, sequence(prefix[0]!, after)))
  const rest = repeat(sequence(COMMA, others ?? NOTHING), Math.max(0, min - 1), max - 1)
  return sequence(literal("["), BREAK, ended(0, sequence(others ?? NOTHING, rest, close)))

  function ended(i: number, next: Node): Node {
    if (i < min) return next
    return choice(i === 0 ? literal("]") : close, next)
  }
}

/** Any text that is none of these, without its quotes. Each character is written in one way, so that none is one of them in disguise. */
function nameOtherThan(names: readonly string[]): Node {
  const rest = repeat(jsonCharacter(ANYTHING), 0)
  const [first, ...others] = [...new Set(names)].toSorted()
  return first === undefined
    ? rest
    : other(
        [first, ...others].map((name) => [...name]),
        0,
        rest,
      )
}

/** What may follow the first `at` characters, in which all names agree. */
function other(names: readonly (readonly string[])[], at: number, rest: Node): Node {
  const going = names.filter((name) => name.length > at)
  const groups = new Map<string, (readonly string[])[]>()
  for (const name of going) groups.set(name[at]!, [...(groups.get(name[at]!) ?? []), name])
  const used = [...groups.keys()].map((character): Range => [character.codePointAt(0)!, character.codePointAt(0)!])
  const differing = sequence(jsonCharacter(complement(used)), rest)
  const same = [...groups].map(([character, group]) => {
    return sequence(literal(inString(character)), other(group, at + 1, rest))
  })
  return choice(...(going.length === names.length ? [EMPTY] : []), differing, ...same)
}

const VALUE: Rule = rule()
/** Any value; objects and arrays in it too. */
export const ANY: Node = VALUE
/** An object of any values. */
export const ANY_OBJECT: Node = object([], ANY)
export const BOOLEAN: Node = choice(literal("true"), literal("false"))
export const NULL: Node = literal("null")
VALUE.node = choice(text(), ANY_NUMBER, BOOLEAN, NULL, array([], ANY, 0, Number.POSITIVE_INFINITY), ANY_OBJECT)
