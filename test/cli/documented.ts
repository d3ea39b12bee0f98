import { readFileSync } from "node:fs"
import { expect } from "vitest"

const PAGE = readFileSync(new URL("../../docs/cli.md", import.meta.url), "utf8")

/** Fails unless docs/cli.md has a row for every field of an object that a command printed. `open` fields have any keys. */
export function expectDocumented(command: string, value: object, open: readonly string[] = []): void {
  const [, section = ""] = new RegExp(`^## gemlet ${command}\n(.*?)(?=^## |$(?![\\s\\S]))`, "ms").exec(PAGE) ?? []
  const rows = new Set([...section.matchAll(/^\| `([^`]+)` \|/gm)].map(([, field]) => field))
  const missing = fields(value, "", new Set(open)).filter((field) => !rows.has(field))
  expect(missing, `fields of gemlet ${command} --json without a row in docs/cli.md`).toEqual([])
}

/** `timings.loadMs`, `files[].name`. */
function fields(value: unknown, path: string, open: ReadonlySet<string>): string[] {
  if (open.has(path)) return [path]
  if (Array.isArray(value)) {
    const inside = value.filter((item) => typeof item === "object").flatMap((item) => fields(item, `${path}[]`, open))
    return inside.length > 0 ? [...new Set(inside)] : [path]
  }
  if (typeof value !== "object" || value === null) return [path]
  return Object.entries(value).flatMap(([key, item]) => fields(item, path ? `${path}.${key}` : key, open))
}
