import { schemaError, show } from "./errors.ts"

/** The keywords of one subschema, checked. */
export interface Keywords {
  /** As `type` says, or as the other keywords do; undefined for any. */
  readonly types: readonly string[] | undefined
  readonly $ref?: string
  readonly anyOf?: readonly unknown[]
  readonly oneOf?: readonly unknown[]
  readonly allOf?: readonly unknown[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly properties?: Readonly<Record<string, unknown>>
  readonly required?: readonly string[]
  readonly additionalProperties?: unknown
  readonly items?: unknown
  readonly prefixItems?: readonly unknown[]
  readonly minItems?: number
  readonly maxItems?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
  readonly format?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly exclusiveMaximum?: number
}

/** The longest name of a property. */
export const MOST_NAME = 500
/** How deep a schema may be nested, and how many values it may have. */
const MOST_DEPTH = 100
const MOST_VALUES = 20_000

const TYPES = ["string", "number", "integer", "boolean", "null", "object", "array"]

/** What a value of a keyword has to be. */
interface Kind {
  readonly is: (value: unknown) => boolean
  readonly expected: string
}

const isList = (value: unknown): value is unknown[] => Array.isArray(value)
const SCHEMA: Kind = { is: (v) => isObject(v) || typeof v === "boolean", expected: "a schema" }
const SCHEMAS: Kind = { is: (v) => isList(v) && v.length > 0 && v.every(SCHEMA.is), expected: "a list of schemas" }
const STRING: Kind = { is: (v) => typeof v === "string", expected: "a string" }
const NUMBER: Kind = { is: (v) => typeof v === "number", expected: "a number" }
const COUNT: Kind = { is: (v) => Number.isSafeInteger(v) && (v as number) >= 0, expected: "a whole number from 0" }
const NAMES: Kind = { is: (v) => isList(v) && v.every(STRING.is), expected: "a list of strings" }
const SCHEMA_OF_NAME: Kind = {
  is: (v) => isObject(v) && Object.values(v).every(SCHEMA.is),
  expected: "schemas by name",
}
const isType = (v: unknown) => TYPES.includes(v as string)
const TYPE: Kind = {
  is: (v) => isType(v) || (isList(v) && v.length > 0 && v.every(isType)),
  expected: `one or several of ${TYPES.join(", ")}`,
}

const KEYWORDS: Readonly<Record<string, Kind>> = {
  type: TYPE,
  properties: SCHEMA_OF_NAME,
  required: NAMES,
  additionalProperties: SCHEMA,
  items: SCHEMA,
  prefixItems: SCHEMAS,
  minItems: COUNT,
  maxItems: COUNT,
  minLength: COUNT,
  maxLength: COUNT,
  pattern: STRING,
  format: STRING,
  minimum: NUMBER,
  maximum: NUMBER,
  exclusiveMinimum: NUMBER,
  exclusiveMaximum: NUMBER,
  enum: { is: (v) => isList(v) && v.length > 0, expected: "a list of values" },
  const: { is: () => true, expected: "a value" },
  anyOf: SCHEMAS,
  oneOf: SCHEMAS,
  allOf: { is: (v) => SCHEMAS.is(v) && (v as unknown[]).length === 1, expected: "a list of one schema" },
  $ref: STRING,
}

/** The type that a keyword speaks of. */
const TYPE_OF: Readonly<Record<string, string>> = {
  properties: "object",
  required: "object",
  additionalProperties: "object",
  items: "array",
  prefixItems: "array",
  minItems: "array",
  maxItems: "array",
  minLength: "string",
  maxLength: "string",
  pattern: "string",
  format: "string",
  minimum: "number",
  maximum: "number",
  exclusiveMinimum: "number",
  exclusiveMaximum: "number",
}

/** Keywords that say all there is to say, and which keywords may stand beside them. */
const ALONE: Readonly<Record<string, readonly string[]>> = {
  $ref: [],
  anyOf: [],
  oneOf: [],
  allOf: [],
  const: ["type"],
  enum: ["type"],
}

const ANNOTATIONS = new Set([
  ...["title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"],
  ...["$schema", "$comment", "$defs", "definitions"],
])

/** Checks the keywords of one subschema, those within it not. */
export function readKeywords(schema: unknown, path: string): Keywords {
  if (!isObject(schema)) throw schemaError(path, "value", schema, "an object or a boolean")
  const given = fields(schema).filter(([key]) => !ANNOTATIONS.has(key) && !(key === "$id" && path === "#"))
  for (const [key, value] of given) {
    const kind = Object.hasOwn(KEYWORDS, key) ? KEYWORDS[key] : undefined
    if (!kind) throw schemaError(path, "keyword", key, `one of ${Object.keys(KEYWORDS).join(", ")}`)
    if (!kind.is(value)) throw schemaError(path, key, value, kind.expected)
  }
  const names = given.map(([key]) => key)
  for (const [key, beside] of Object.entries(ALONE)) {
    const other = names.find((name) => name !== key && !beside.includes(name))
    if (names.includes(key) && other) throw schemaError(path, `keyword beside ${key}`, other, "none")
  }
  const { type, ...keywords } = Object.fromEntries(given)
  const inferred = [...new Set(names.flatMap((name) => TYPE_OF[name] ?? []))]
  const types = type === undefined ? inferred : isList(type) ? [...new Set(type)] : [type]
  return { ...keywords, types: types.length > 0 ? (types as string[]) : undefined }
}

/** The properties of an object that are not undefined. */
export function fields(value: object): [key: string, value: unknown][] {
  return Object.entries(value).filter(([, each]) => each !== undefined)
}

/** What a `$ref` leads to: a JSON pointer within the schema (RFC 6901). */
export function resolve(root: unknown, reference: string, path: string): unknown {
  const unknown = () => schemaError(path, "$ref", reference, "# or a pointer within the schema, such as #/$defs/name")
  if (!/^#(\/|$)/.test(reference)) throw unknown()
  let target = root
  for (const part of reference.split("/").slice(1)) {
    const key = decoded(part)?.replaceAll("~1", "/").replaceAll("~0", "~")
    if (key === undefined || typeof target !== "object" || target === null || !Object.hasOwn(target, key))
      throw unknown()
    target = (target as Record<string, unknown>)[key]
  }
  if (!SCHEMA.is(target)) throw unknown()
  return target
}

function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part)
  } catch {
    return undefined
  }
}

/**
 * Refuses what is no JSON object, or nested so deep or so large that nobody means it.
 *
 * @throws {TypeError} for what JSON does not have, RangeError for what is too much
 */
export function wellFormed(schema: unknown): void {
  if (!isObject(schema))
    throw new TypeError(`schema: is ${show(schema)}, expected an object, or true for any JSON object`)
  const open: { value: unknown; path: string; depth: number }[] = [{ value: schema, path: "#", depth: 0 }]
  for (let count = 0; open.length > 0; count++) {
    const { value, path, depth } = open.pop()!
    if (count > MOST_VALUES) throw new RangeError(`schema: more than ${MOST_VALUES} values, expected at most that many`)
    if (depth > MOST_DEPTH) throw schemaError("#", "depth", depth, `at most ${MOST_DEPTH}`)
    if (typeof value !== "object" || value === null) {
      if (!isScalar(value)) throw new TypeError(`schema ${path}: value is ${String(value)}, expected JSON`)
      continue
    }
    for (const [key, each] of isList(value) ? value.entries() : fields(value)) {
      open.push({ value: each, path: `${path}/${key}`, depth: depth + 1 })
    }
  }
}

function isScalar(value: unknown): boolean {
  return value === null || typeof value === "string" || typeof value === "boolean" || Number.isFinite(value)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}
