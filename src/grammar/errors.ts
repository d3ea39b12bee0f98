/** What is wrong with a schema, and where. `path` is that of the subschema, such as `#/properties/age`. */
export function schemaError(path: string, what: string, is: unknown, expected: string): RangeError {
  return new RangeError(`schema ${path}: ${what} is ${show(is)}, expected ${expected}`)
}

/** A value as JSON, cut where it is long. */
export function show(value: unknown): string {
  if (value === undefined) return "missing"
  if (Array.isArray(value)) return "an array"
  if (typeof value === "object" && value !== null) return "an object"
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}
