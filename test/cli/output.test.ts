import { expect, test } from "vitest"
import { withoutControls } from "../../cli/output.ts"

test("withoutControls keeps text, newlines and tabs and drops what a terminal would obey", () => {
  expect(withoutControls("a\tb\n\x1b[2Jc\rd\x07\x9b31me\u{1f600}")).toBe("a\tb\n[2Jcd31me\u{1f600}")
})
