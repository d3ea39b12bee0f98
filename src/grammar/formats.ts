import type { Node } from "./node.ts"
import { pattern } from "./pattern.ts"

// RFC 3339, section 5.6, with the days that a month has; no leap seconds, and at most nine digits of a second.
const LEAP_YEAR = "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
const DAY =
  "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))"
const DATE = `(?:\\d{4}-${DAY}|${LEAP_YEAR}-02-29)`
const CLOCK = "(?:[01]\\d|2[0-3]):[0-5]\\d"
const TIME = `${CLOCK}:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-]${CLOCK})`
const BYTE = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
// Of RFC 5321, section 4.1.2, the dot-string in front of a domain of letters.
const ATOM = "[A-Za-z0-9_+-]{1,20}"
const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?"

const PATTERNS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  uuid: "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
  email: `${ATOM}(?:\\.${ATOM}){0,2}@${LABEL}(?:\\.${LABEL}){0,3}\\.[A-Za-z]{2,20}`,
  ipv4: `${BYTE}(?:\\.${BYTE}){3}`,
}

export const FORMATS: readonly string[] = Object.keys(PATTERNS)

/** The inside of a JSON string of a format; undefined for one that is none of FORMATS. */
export function format(name: string): Node | undefined {
  const source = Object.hasOwn(PATTERNS, name) ? PATTERNS[name] : undefined
  return source === undefined ? undefined : pattern(`^(?:${source})$`, "#")
}
