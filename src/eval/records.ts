import { isObject, show } from "../model/keys.ts"

/** A key of a record that must be text. */
export function textField(record: unknown, key: string, where: string): string {
  const value = fieldOf(record, key, where)
  if (typeof value === "string") return value
  throw new TypeError(`${where}: ${key} is ${show(value)}, expected text`)
}

/** A key of a record that must be a list of texts, at least one. */
export function textsField(record: unknown, key: string, where: string): string[] {
  const value = fieldOf(record, key, where)
  if (Array.isArray(value) && value.length > 0 && value.every((entry) => typeof entry === "string")) return value
  throw new TypeError(`${where}: ${key} is ${show(value)}, expected a list of texts`)
}

/** A key of a record, whatever it is. */
export function fieldOf(record: unknown, key: string, where: string): unknown {
  if (!isObject(record)) throw new TypeError(`${where}: record is ${show(record)}, expected an object`)
  return record[key]
}
