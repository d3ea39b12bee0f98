type Schema = Record<string, never>

/** Whether a value fits a JSON schema (draft 2020-12), for the keywords that docs/constrained.md lists. oneOf counts as anyOf. */
export function fits(schema: unknown, value: unknown, root: unknown = schema): boolean {
  if (typeof schema === "boolean") return schema
  return Object.entries(schema as Schema).every(([keyword, given]) => {
    const check = CHECKS[keyword]
    return check === undefined || check(given, value, { root, schema: schema as Schema })
  })
}

interface Place {
  readonly root: unknown
  readonly schema: Schema
}

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null && !Array.isArray(v)
const equal = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
const length = (v: string) => [...v].length

const TYPES: Record<string, (v: unknown) => boolean> = {
  null: (v) => v === null,
  boolean: (v) => v === true || v === false,
  number: (v) => typeof v === "number" && Number.isFinite(v),
  integer: (v) => Number.isSafeInteger(v),
  string: (v) => typeof v === "string",
  array: Array.isArray,
  object: isObject,
}

const ofString = (test: (v: string) => boolean) => (v: unknown) => typeof v !== "string" || test(v)
const ofNumber = (test: (v: number) => boolean) => (v: unknown) => typeof v !== "number" || test(v)
const ofArray = (test: (v: unknown[]) => boolean) => (v: unknown) => !Array.isArray(v) || test(v)
const ofObject = (test: (v: Record<string, unknown>) => boolean) => (v: unknown) => !isObject(v) || test(v)

const CHECKS: Record<string, (given: never, value: unknown, place: Place) => boolean> = {
  type: (types: string | string[], v) => [types].flat().some((type) => TYPES[type]!(v)),
  const: (given, v) => equal(given, v),
  enum: (given: unknown[], v) => given.some((each) => equal(each, v)),
  anyOf: (given: unknown[], v, { root }) => given.some((each) => fits(each, v, root)),
  oneOf: (given: unknown[], v, { root }) => given.some((each) => fits(each, v, root)),
  allOf: (given: unknown[], v, { root }) => given.every((each) => fits(each, v, root)),
  $ref: (given: string, v, { root }) => {
    const parts = given.split("/").slice(1)
    return fits(
      parts.reduce((at, part) => (at as Schema)[part.replaceAll("~1", "/").replaceAll("~0", "~")]!, root as unknown),
      v,
      root,
    )
  },
  minLength: (n: number, v) => ofString((s) => length(s) >= n)(v),
  maxLength: (n: number, v) => ofString((s) => length(s) <= n)(v),
  pattern: (source: string, v) => ofString((s) => new RegExp(source, "u").test(s))(v),
  format: (name: string, v) => ofString(FORMATS[name]!)(v),
  minimum: (n: number, v) => ofNumber((x) => x >= n)(v),
  maximum: (n: number, v) => ofNumber((x) => x <= n)(v),
  exclusiveMinimum: (n: number, v) => ofNumber((x) => x > n)(v),
  exclusiveMaximum: (n: number, v) => ofNumber((x) => x < n)(v),
  minItems: (n: number, v) => ofArray((a) => a.length >= n)(v),
  maxItems: (n: number, v) => ofArray((a) => a.length <= n)(v),
  prefixItems: (given: unknown[], v, { root }) => ofArray((a) => a.every((x, i) => fits(given[i] ?? true, x, root)))(v),
  items: (given, v, { root, schema }) => {
    const skip = ((schema.prefixItems as unknown[] | undefined) ?? []).length
    return ofArray((a) => a.slice(skip).every((x) => fits(given, x, root)))(v)
  },
  required: (names: string[], v) => ofObject((o) => names.every((name) => Object.hasOwn(o, name)))(v),
  properties: (given: Schema, v, { root }) =>
    ofObject((o) => Object.keys(given).every((name) => !Object.hasOwn(o, name) || fits(given[name], o[name], root)))(v),
  additionalProperties: (given, v, { root, schema }) =>
    ofObject((o) =>
      Object.keys(o).every((name) => Object.hasOwn(schema.properties ?? {}, name) || fits(given, o[name], root)),
    )(v),
}

const isDate = (s: string) => /^\d{4}-\d\d-\d\d$/.test(s) && new Date(`${s}T00:00:00Z`).toISOString().startsWith(s)
const isTime = (s: string) => /^\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(s) && Date.parse(`2000-01-01T${s}`) > 0

const FORMATS: Record<string, (s: string) => boolean> = {
  date: isDate,
  time: isTime,
  "date-time": (s) => s[10] === "T" && isDate(s.slice(0, 10)) && isTime(s.slice(11)),
  uuid: (s) => s.length === 36 && s.split("-").map(length).join() === "8,4,4,4,12" && /^[\da-f-]+$/i.test(s),
  email: (s) => s.split("@").length === 2 && URL.canParse(`mailto://${s}`) && !/\.\.|^\.|\.@|\s/.test(s),
  ipv4: (s) => s.split(".").length === 4 && new URL(`http://${s}`).hostname === s,
}
