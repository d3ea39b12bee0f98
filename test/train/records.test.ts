import { expect, test } from "vitest"
import { checkRecord, recordsOf } from "../../src/train/records.ts"

test("checkRecord takes the three forms and ignores other keys", () => {
  expect(checkRecord({ text: "a", title: 3 }, "f:1")).toEqual({ text: "a" })
  expect(checkRecord({ prompt: "", completion: "b", id: 1 }, "f:1")).toEqual({ prompt: "", completion: "b" })
  const messages = [
    { role: "system", content: "" },
    { role: "user", content: [{ type: "text", text: "a", extra: 1 }] },
    { role: "model", content: "b", name: "x" },
    { role: "assistant", content: "c" },
  ]
  expect(checkRecord({ messages }, "f:1")).toEqual({
    messages: [
      { role: "system", content: "" },
      { role: "user", content: [{ type: "text", text: "a" }] },
      { role: "assistant", content: "b" },
      { role: "assistant", content: "c" },
    ],
  })
})

test("checkRecord takes null for absent, and the richest form", () => {
  expect(checkRecord({ text: "a", prompt: null, completion: null, messages: null }, "f:1")).toEqual({ text: "a" })
  expect(checkRecord({ text: "a", prompt: "b", completion: "c" }, "f:1")).toEqual({ prompt: "b", completion: "c" })
  expect(checkRecord({ text: "a", prompt: "b" }, "f:1")).toEqual({ text: "a" })
  expect(checkRecord({ prompt: "b", messages: [{ role: "user", content: "a" }] }, "f:1")).toHaveProperty("messages")
})

test.each<[unknown, string]>([
  [[], "f:1: record is [], expected an object with"],
  [null, "f:1: record is null, expected an object with"],
  ["a", 'f:1: record is "a", expected an object with'],
  [{}, 'f:1: record has no keys, expected "text", "prompt" and "completion", or "messages"'],
  [{ prompt: "a" }, 'f:1: record has "prompt", expected "text"'],
  [{ text: "" }, "f:1: text is empty, expected text"],
  [{ text: 3 }, "f:1: text is 3, expected a string"],
  [{ prompt: 3, completion: "a" }, "f:1: prompt is 3, expected a string"],
  [{ prompt: "a", completion: ["b"] }, 'f:1: completion is ["b"], expected a string'],
  [{ prompt: "a", completion: "" }, "f:1: completion is empty, expected text"],
  [{ messages: "a" }, 'f:1: messages is "a", expected an array'],
  [{ messages: [] }, "f:1: messages is [], expected at least one"],
  [{ messages: ["a"] }, 'f:1: messages[0] is "a", expected { role, content }'],
  [{ messages: [{ role: "tool", content: "a" }] }, 'f:1: messages[0].role is "tool", expected user, assistant, model'],
  [{ messages: [{ content: "a" }] }, "f:1: messages[0].role is missing, expected user"],
  [{ messages: [{ role: "user" }] }, "f:1: messages[0].content is missing, expected a string or text parts"],
  [{ messages: [{ role: "user", content: [{ type: "image" }] }] }, "messages[0].content[0] is"],
])("checkRecord refuses %j by name", (value, message) => {
  expect(() => checkRecord(value, "f:1")).toThrow(message)
})

test("recordsOf reads, names and tells apart records in memory", async () => {
  const dataset = recordsOf([{ text: "a" }, { prompt: "b", completion: "c" }])
  expect(dataset.count).toBe(2)
  expect(await dataset.read(1)).toEqual({ prompt: "b", completion: "c" })
  expect(dataset.where(1)).toBe("records[1]")
  expect(dataset.fingerprint).toBe(recordsOf([{ text: "a" }, { prompt: "b", completion: "c" }]).fingerprint)
  expect(dataset.fingerprint).not.toBe(recordsOf([{ prompt: "b", completion: "c" }, { text: "a" }]).fingerprint)
  expect(() => recordsOf([{ text: "a" }, { text: 1 }], { name: "mine" })).toThrow("mine[1]: text is 1")
  expect(() => recordsOf({ text: "a" } as unknown as [])).toThrow('records: value is {"text":"a"}, expected an array')
  expect(() => recordsOf([])).toThrow("records: number of usable records is 0, expected at least 1")
})

test("recordsOf skips bad records, counts them and keeps the first messages", async () => {
  const dataset = recordsOf([...Array(8).fill(3), { text: "a" }], { skipBad: true })
  expect(dataset.count).toBe(1)
  expect(dataset.where(0)).toBe("records[8]")
  expect(dataset.skipped.count).toBe(8)
  expect(dataset.skipped.messages).toHaveLength(5)
  expect(dataset.skipped.messages[4]).toContain("records[4]: record is 3")
  expect(() => recordsOf([3], { skipBad: true })).toThrow("is 0, expected at least 1 (records[0]: record is 3")
})
