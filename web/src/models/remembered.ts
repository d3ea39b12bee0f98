// Which kept model was loaded last, and how each was: what the next visit begins with.

import type { Choice } from "../state/store.ts"
import { readSetting, writeSetting } from "../storage/settings.ts"

type Options = Choice["options"]

interface Remembered {
  readonly last?: string | undefined
  readonly options: Readonly<Record<string, Options>>
}

const NAME = "models"

/** A kept model with the options that it was loaded with. */
export function keptChoice(id: string): Choice {
  return { name: id, location: { kept: id }, options: read().options[id] ?? {} }
}

/** What was loaded last, if that is a kept model. */
export function lastChoice(): Choice | undefined {
  const { last } = read()
  return last === undefined ? undefined : keptChoice(last)
}

export function rememberKept(id: string, options: Options): void {
  writeSetting(NAME, { last: id, options: { ...read().options, [id]: options } } satisfies Remembered)
}

/** The next visit begins with the page's own model. */
export function forgetLast(): void {
  writeSetting(NAME, { ...read(), last: undefined } satisfies Remembered)
}

/** The model is not kept any more. */
export function forgetKept(id: string): void {
  const { last, options } = read()
  const { [id]: _, ...rest } = options
  writeSetting(NAME, { last: last === id ? undefined : last, options: rest } satisfies Remembered)
}

function read(): Remembered {
  return readSetting(NAME, isRemembered) ?? { options: {} }
}

function isRemembered(value: unknown): value is Remembered {
  if (!isObject(value) || !isObject(value.options)) return false
  return (value.last === undefined || typeof value.last === "string") && Object.values(value.options).every(isOptions)
}

function isOptions(value: unknown): value is Options {
  if (!isObject(value)) return false
  const { context, dtype, cacheDtype } = value
  const isName = (name: unknown) => name === undefined || typeof name === "string"
  return (context === undefined || Number.isSafeInteger(context)) && isName(dtype) && isName(cacheDtype)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null
}
