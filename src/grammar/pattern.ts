import { complement, jsonCharacter, type Range } from "./characters.ts"
import { schemaError } from "./errors.ts"
import { choice, EMPTY, type Node, repeat, sequence } from "./node.ts"
import { quantified } from "./repetition.ts"

const DIGITS: readonly Range[] = [[0x30, 0x39]]
const WORD: readonly Range[] = [...DIGITS, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]]
const LINE_ENDS: readonly Range[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
]
/** WhiteSpace and LineTerminator of ECMA-262, section 12.2 and 12.3. */
const SPACE: readonly Range[] = [
  ...LINE_ENDS,
  [0x09, 0x0c],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
]
const CLASSES: Readonly<Record<string, readonly Range[]>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE),
}
const CONTROLS: Readonly<Record<string, number>> = { f: 0x0c, n: 0x0a, r: 0x0d, t: 0x09, v: 0x0b, 0: 0 }
const LONGEST = 2000

/**
 * The inside of a JSON string that a regular expression of ECMA-262 (with the flag u) finds something in: characters as
 * JSON.stringify writes them.
 *
 * @param path of the schema, for errors
 * @throws {RangeError} for what is no regular expression, or has more than classes, groups, alternatives, quantifiers, and anchors
 *   at the ends of an outermost alternative
 */
export function pattern(source: string, path: string): Node {
  if (source.length > LONGEST) throw schemaError(path, "pattern's length", source.length, `at most ${LONGEST}`)
  try {
    new RegExp(source, "u")
  } catch (error) {
    throw schemaError(path, "pattern", source, `a regular expression (${(error as Error).message})`)
  }
  return new Pattern(source, path).whole()
}

/** Walks a pattern that is known to be valid. */
class Pattern {
  readonly #characters: readonly string[]
  readonly #path: string
  #at = 0

  constructor(source: string, path: string) {
    this.#characters = [...source]
    this.#path = path
  }

  whole(): Node {
    const anything = repeat(jsonCharacter(complement([])), 0)
    const options: Node[] = []
    do {
      const start = this.#take("^") ? EMPTY : anything
      const body = this.#terms()
      options.push(sequence(start, body, this.#take("$") ? EMPTY : anything))
    } while (this.#take("|"))
    if (this.#at < this.#characters.length) throw this.#refused('"$" within')
    return choice(...options)
  }

  #alternatives(): Node {
    const options = [this.#terms()]
    while (this.#take("|")) options.push(this.#terms())
    return choice(...options)
  }

  #terms(): Node {
    const items: Node[] = []
    while (this.#at < this.#characters.length && !["|", ")", "$"].includes(this.#peek())) {
      items.push(this.#quantified(this.#atom()))
    }
    return sequence(...items)
  }

  #atom(): Node {
    const character = this.#next()
    if (character === "(") return this.#group()
    if (character === "[") return jsonCharacter(this.#class())
    if (character === ".") return jsonCharacter(complement(LINE_ENDS))
    if (character === "^") throw this.#refused('"^" within')
    return jsonCharacter(character === "\\" ? this.#escape() : [single(character)])
  }

  #group(): Node {
    if (this.#take("?") && !this.#take(":")) throw this.#refused(`a group of "(?${this.#peek()}"`)
    const inside = this.#alternatives()
    if (!this.#take(")")) throw this.#refused('"$" within a group')
    return inside
  }

  #class(): readonly Range[] {
    const negated = this.#take("^")
    const ranges: Range[] = []
    while (!this.#take("]")) {
      const first = this.#classAtom()
      const last = this.#peek() === "-" && this.#characters[this.#at + 1] !== "]" ? this.#rangeEnd() : undefined
      if (last) ranges.push([first[0]![0], last[0]![1]])
      else ranges.push(...first)
    }
    return negated ? complement(ranges) : ranges
  }

  #rangeEnd(): readonly Range[] {
    this.#at++
    return this.#classAtom()
  }

  #classAtom(): readonly Range[] {
    const character = this.#next()
    if (character !== "\\") return [single(character)]
    return this.#take("b") ? [[0x08, 0x08]] : this.#escape()
  }

  /** What follows a backslash. */
  #escape(): readonly Range[] {
    const character = this.#next()
    const known = CLASSES[character]
    if (known) return known
    const control = CONTROLS[character]
    if (control !== undefined) return [[control, control]]
    if (character === "x") return [code(this.#hex(2))]
    if (character === "u") return [code(this.#unicode())]
    if (character === "c") return [code(this.#next().charCodeAt(0) % 32)]
    if (/[a-zA-Z1-9]/.test(character)) throw this.#refused(`"\\${character}"`)
    return [single(character)]
  }

  #unicode(): number {
    if (this.#take("{")) {
      const end = this.#characters.indexOf("}", this.#at)
      const value = this.#hex(end - this.#at)
      this.#at++
      return value
    }
    const unit = this.#hex(4)
    const paired = unit >= 0xd800 && unit < 0xdc00 && this.#peek() === "\\" && this.#characters[this.#at + 1] === "u"
    if (!paired) return unit
    const before = this.#at
    this.#at += 2
    const low = this.#peek() === "{" ? 0 : this.#hex(4)
    if (low >= 0xdc00 && low < 0xe000) return 0x10000 + (unit - 0xd800) * 0x400 + (low - 0xdc00)
    this.#at = before
    return unit
  }

  #hex(length: number): number {
    this.#at += length
    return Number.parseInt(this.#characters.slice(this.#at - length, this.#at).join(""), 16)
  }

  #quantified(item: Node): Node {
    const bounds = this.#quantifier()
    if (!bounds) return item
    this.#take("?") // lazy or not, the strings are the same
    return quantified(item, ...bounds)
  }

  #quantifier(): [min: number, max: number] | undefined {
    if (this.#take("*")) return [0, Number.POSITIVE_INFINITY]
    if (this.#take("+")) return [1, Number.POSITIVE_INFINITY]
    if (this.#take("?")) return [0, 1]
    if (!this.#take("{")) return undefined
    const end = this.#characters.indexOf("}", this.#at)
    const [min = "", max] = this.#characters.slice(this.#at, end).join("").split(",")
    this.#at = end + 1
    if (max === undefined) return [Number(min), Number(min)]
    return [Number(min), max === "" ? Number.POSITIVE_INFINITY : Number(max)]
  }

  #peek(): string {
    return this.#characters[this.#at] ?? ""
  }

  #next(): string {
    return this.#characters[this.#at++]!
  }

  #take(character: string): boolean {
    if (this.#characters[this.#at] !== character) return false
    this.#at++
    return true
  }

  #refused(what: string): RangeError {
    return schemaError(this.#path, "pattern", this.#characters.join(""), `one without ${what} (docs/constrained.md)`)
  }
}

function code(point: number): Range {
  return [point, point]
}

function single(character: string): Range {
  return code(character.codePointAt(0)!)
}
