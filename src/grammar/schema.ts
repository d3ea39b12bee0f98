import { schemaError } from "./errors.ts"
import { FORMATS, format } from "./formats.ts"
import { ANY, ANY_OBJECT, array, BOOLEAN, constant, type Member, NULL, object, quoted, text } from "./json.ts"
import { fields, type Keywords, MOST_NAME, readKeywords, resolve, wellFormed } from "./keywords.ts"
import { choice, NOTHING, type Node, type Rule, rule } from "./node.ts"
import { ANY_NUMBER, type Bound, integer, MOST_DIGITS, numberWithin } from "./numbers.ts"
import { pattern } from "./pattern.ts"

/** A JSON schema (draft 2020-12, as far as docs/constrained.md says), or true for any JSON object. */
export type Schema = Readonly<Record<string, unknown>> | true

/**
 * The JSON texts that fit a schema, or a part of them: of numbers, white space and free names only what is bounded.
 *
 * @throws {TypeError} for what is no schema, RangeError for a keyword or value that cannot be held to
 */
export function schemaNode(schema: Schema): Node {
  if (schema === true) return ANY_OBJECT
  wellFormed(schema)
  return new Compiler(schema).compiled()
}

class Compiler {
  readonly #root: unknown
  /** Of the subschemas that a $ref leads to. */
  readonly #rules = new Map<unknown, Rule>()
  readonly #open: { readonly made: Rule; readonly target: unknown; readonly path: string }[] = []

  constructor(root: unknown) {
    this.#root = root
  }

  compiled(): Node {
    const node = this.#node(this.#root, "#")
    // One after the other, however long a chain of references is; each may find more of them.
    for (const { made, target, path } of this.#open) made.node = this.#node(target, path)
    return node
  }

  #node(schema: unknown, path: string): Node {
    if (schema === true) return ANY
    if (schema === false) return NOTHING
    const keywords = readKeywords(schema, path)
    const { $ref, anyOf, oneOf, allOf, enum: values } = keywords
    if ($ref !== undefined) return this.#reference($ref, path)
    if (anyOf) return this.#union(anyOf, `${path}/anyOf`)
    if (oneOf) return this.#union(oneOf, `${path}/oneOf`)
    if (allOf) return this.#node(allOf[0], `${path}/allOf/0`)
    if ("const" in keywords) return enumeration([keywords.const], keywords.types)
    if (values) return enumeration(values, keywords.types)
    if (keywords.types === undefined) return ANY
    return choice(...keywords.types.map((type) => this.#ofType(type, keywords, path)))
  }

  #union(schemas: readonly unknown[], path: string): Node {
    return choice(...schemas.map((schema, i) => this.#node(schema, `${path}/${i}`)))
  }

  #reference(reference: string, path: string): Node {
    const target = resolve(this.#root, reference, path)
    if (typeof target !== "object") return this.#node(target, reference)
    const known = this.#rules.get(target)
    if (known) return known
    const made = rule()
    this.#rules.set(target, made)
    this.#open.push({ made, target, path: reference })
    return made
  }

  #ofType(type: string, keywords: Keywords, path: string): Node {
    switch (type) {
      case "string":
        return stringNode(keywords, path)
      case "integer":
        return integer(...bounds(keywords))
      case "number":
        return numberNode(keywords, path)
      case "object":
        return this.#object(keywords, path)
      case "array":
        return this.#array(keywords, path)
      default:
        return type === "null" ? NULL : BOOLEAN
    }
  }

  #object({ properties, required = [], additionalProperties: others }: Keywords, path: string): Node {
    const declared = fields(properties ?? {})
    // Without properties an object is free; with them, others come only where the schema speaks of them.
    const free = others ?? properties === undefined
    const member = (name: string, schema: unknown, at: string): Member => {
      if (name.length > MOST_NAME) throw schemaError(at, "name's length", name.length, `at most ${MOST_NAME}`)
      return { name, value: this.#node(schema, at), required: required.includes(name) }
    }
    const members = declared.map(([name, schema]) => member(name, schema, `${path}/properties/${escaped(name)}`))
    const names = new Set(declared.map(([name]) => name))
    for (const name of new Set(required)) {
      if (names.has(name)) continue
      if (others === false) {
        throw schemaError(path, "required", name, "a name of properties, as additionalProperties is false")
      }
      members.push(member(name, others ?? true, `${path}/additionalProperties`))
    }
    return object(members, free === false ? undefined : this.#node(free, `${path}/additionalProperties`))
  }

  #array({ items, prefixItems = [], minItems: min = 0, maxItems: max = Infinity }: Keywords, path: string): Node {
    const prefix = prefixItems.map((schema, i) => this.#node(schema, `${path}/prefixItems/${i}`))
    // Behind a prefix come others only where the schema speaks of them, or asks for more.
    const others = items ?? (prefix.length === 0 || min > prefix.length)
    return array(prefix, others === false ? undefined : this.#node(others, `${path}/items`), min, max)
  }
}

function stringNode(keywords: Keywords, path: string): Node {
  const { minLength, maxLength, pattern: source, format: name } = keywords
  const limits = { minLength, maxLength, pattern: source, format: name }
  const given = fields(limits).map(([keyword]) => keyword)
  if ((source !== undefined || name !== undefined) && given.length > 1) {
    throw schemaError(path, "string's keywords", given.join(" and "), "pattern or format alone")
  }
  if (source !== undefined) return quoted(pattern(source, path))
  if (name === undefined) return text(minLength, maxLength)
  const inside = format(name)
  if (inside) return quoted(inside)
  throw schemaError(path, "format", name, `one of ${FORMATS.join(", ")}`)
}

function numberNode(keywords: Keywords, path: string): Node {
  const [least, most] = bounds(keywords)
  if (!least && !most) return ANY_NUMBER
  const node = numberWithin(least, most)
  if (node) return node
  const { value } = [least, most].reduce((a, b) => (digitsOf(b) > digitsOf(a) ? b : a))!
  throw schemaError(path, "bound", value, `numbers whose digits before and behind the point are ${MOST_DIGITS} at most`)
}

function digitsOf(bound: Bound | undefined): number {
  return bound ? String(bound.value).length : 0
}

/** The tighter of two limits on each side. */
function bounds(keywords: Keywords): [least: Bound | undefined, most: Bound | undefined] {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = keywords
  return [tighter(minimum, exclusiveMinimum, 1), tighter(maximum, exclusiveMaximum, -1)]
}

function tighter(inclusive: number | undefined, exclusive: number | undefined, sign: number): Bound | undefined {
  if (exclusive !== undefined && (inclusive === undefined || sign * exclusive >= sign * inclusive)) {
    return { value: exclusive, exclusive: true }
  }
  return inclusive === undefined ? undefined : { value: inclusive, exclusive: false }
}

function enumeration(values: readonly unknown[], types: readonly string[] | undefined): Node {
  const fitting = types ? values.filter((value) => types.some((type) => isOfType(value, type))) : values
  return choice(...fitting.map(constant))
}

function isOfType(value: unknown, type: string): boolean {
  if (type === "integer") return Number.isInteger(value)
  if (type === "null") return value === null
  if (type === "array") return Array.isArray(value)
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value)
  return typeof value === type
}

/** A name as a part of a JSON pointer (RFC 6901). */
function escaped(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1")
}
