import { describe, expect, test } from "vitest"
import { randomFrom } from "../tokenizer/fixtures.ts"
import { accepts } from "./accepts.ts"

/** Beside each pattern what random texts are made of. */
const PATTERNS: readonly [pattern: string, alphabet: string][] = [
  ["^a*b$", "ab"],
  ["b", "ab"],
  ["^$", "a"],
  ["", "a"],
  ["^a|b$", "abc"],
  ["^(ab?)+c{2}$", "abc"],
  ["^(?:a{1,2}){2,3}$", "a"],
  ["^a{2,}b{0}c?$", "abc"],
  ["^(a?b?){2}$", "ab"],
  ["^(?:a*)*b$", "ab"],
  ["^(?:|a)+$", "ab"],
  ["^()*a$", "a"],
  ["^a+?b??$", "ab"],
  ["^[a-c\\d]+$", "ac0 9é"],
  ["^[^a-c]$", "ad\n😀é"],
  ["^[\\]\\-^]+$", "]-^a"],
  ["^[-a]+[a-]$", "-a"],
  ["^[^]{2}$", "a\n"],
  ["^(?:[]|a)$", "ab"],
  ["^.$", "a\n\r\u2028😀\u0000"],
  ["^\\w\\W$", "aZ_9 é"],
  ["^\\s\\S$", " \t\n\u00a0\ufeffa"],
  ["^\\D$", "1a"],
  ["^\\.\\/\\\\\\$\\^$", "./\\$^"],
  ["^\\x41\\u00e9\\u{1F600}\\ud83d\\ude00$", "Aé😀"],
  ["^\\t\\n\\0\\cJ$", "\t\n\u0000"],
  ['^[\\b"\\\\]$', '\b"\\a'],
  ["^[а-яё]+$", "аяёa"],
  ["^[\u0100-\u{10ffff}]$", "aĀ\uffff😀\ud7ff\ue000"],
  ['"|\\\\', 'a"\\'],
  ["^(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)$", "0125"],
]

describe("a pattern", () => {
  test.each(PATTERNS)("%s finds what RegExp finds", (source, alphabet) => {
    const accepted = accepts({ type: "string", pattern: source })
    const expression = new RegExp(source, "u")
    const characters = [...alphabet]
    const next = randomFrom(source.length)
    const texts = new Set(["", ...characters])
    for (let i = 0; i < 150; i++) {
      const length = 1 + Math.floor(next() * 6)
      texts.add(Array.from({ length }, () => characters[Math.floor(next() * characters.length)]!).join(""))
    }
    texts.add("./\\$^").add("Aé😀😀").add("\t\n\u0000\n")
    for (const text of texts) expect(accepted(JSON.stringify(text)), JSON.stringify(text)).toBe(expression.test(text))
  })

  test.each([
    ["(?=a)", "(docs/constrained.md)"],
    ["(?!a)b", 'without a group of "(?!"'],
    ["(?<=a)b", 'without a group of "(?<"'],
    ["(?<name>a)", 'without a group of "(?<"'],
    ["(a)\\1", 'without "\\1"'],
    ["\\bword", 'without "\\b"'],
    ["\\p{L}", 'without "\\p"'],
    ["a^b", 'without "^" within'],
    ["a$b", 'without "$" within'],
    ["(a$)", 'without "$" within a group'],
    ["a".repeat(2001), "pattern's length is 2001, expected at most 2000"],
  ])("%s is refused by name", (source, message) => {
    expect(() => accepts({ type: "string", pattern: source })).toThrow(RangeError)
    expect(() => accepts({ type: "string", pattern: source })).toThrow(message)
  })

  test("of too many ways at once ends in an error, and soon", () => {
    const accepted = accepts({ type: "string", pattern: "a.{60000}$" })
    expect(() => accepted(`"${"a".repeat(5000)}"`)).toThrow(/^schema: a step takes more than \d+ comparisons, expected/)
  })
})
