import { badField } from "./errors.ts"

/** A JSON object as a client sent it. */
export type Body = Readonly<Record<string, unknown>>

export function isObject(value: unknown): value is Body {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

/** A value as JSON, cut where it is long. */
export function show(value: unknown): string {
  const json = JSON.stringify(value) ?? "missing"
  return json.length > 40 ? `${json.slice(0, 40)}…` : json
}

/** The field's value; null means the same as nothing, as in OpenAI's API. */
export function field(body: Body, name: string): unknown {
  return Object.hasOwn(body, name) ? (body[name] ?? undefined) : undefined
}

export function numberField(
  body: Body,
  name: string,
  expected: string,
  valid: (value: number) => boolean,
): number | undefined {
  const value = field(body, name)
  if (value === undefined || (typeof value === "number" && valid(value))) return value
  throw badField(name, `value is ${show(value)}, expected ${expected}`)
}

export function wholeField(
  body: Body,
  name: string,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
): number | undefined {
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`
  return numberField(body, name, `a whole number ${range}`, (n) => Number.isSafeInteger(n) && n >= least && n <= most)
}

export function booleanField(body: Body, name: string): boolean | undefined {
  const value = field(body, name)
  if (value === undefined || typeof value === "boolean") return value
  throw badField(name, `value is ${show(value)}, expected true or false`)
}

export function stringField(body: Body, name: string): string | undefined {
  const value = field(body, name)
  if (value === undefined || typeof value === "string") return value
  throw badField(name, `value is ${show(value)}, expected a string`)
}

export function objectField(body: Body, name: string): Body | undefined {
  const value = field(body, name)
  if (value === undefined || isObject(value)) return value
  throw badField(name, `value is ${show(value)}, expected an object`)
}

/** One string or a list of them; the library's own name for nothing is an empty list. */
export function stringsField(body: Body, name: string): readonly string[] {
  const value = field(body, name)
  if (value === undefined) return []
  const list: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (list.every((each) => typeof each === "string")) return list
  throw badField(name, `value is ${show(value)}, expected a string or an array of strings`)
}
