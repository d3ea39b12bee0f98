import { expect, test } from "vitest"
import { StopMatcher } from "../../src/tokenizer/stop.ts"
import { chunks, randomFrom } from "./fixtures.ts"

/** What a stream gives with these stop strings, chunk by chunk. */
function run(stops: string[], pieces: Iterable<string>): { text: string; stopped: boolean; given: string[] } {
  const matcher = new StopMatcher(stops)
  const given: string[] = []
  for (const piece of pieces) {
    const { text, stopped } = matcher.push(piece)
    given.push(text)
    if (stopped) return { text: given.join(""), stopped, given }
  }
  return { text: given.join("") + matcher.flush(), stopped: false, given }
}

test("StopMatcher cuts at the stop string", () => {
  expect(run(["END"], ["one END two"])).toMatchObject({ text: "one ", stopped: true })
  expect(run(["END"], ["one E", "N", "D two"])).toMatchObject({ text: "one ", stopped: true })
})

test("StopMatcher holds back only what may begin a stop string", () => {
  expect(run(["\nUser:"], ["Hi", "\n", "Us", "ed", " up\n"]).given).toEqual(["Hi", "", "", "\nUsed", " up"])
})

test("StopMatcher gives everything where nothing stops", () => {
  expect(run(["END"], ["one EN", ""])).toMatchObject({ text: "one EN", stopped: false })
  expect(run([], ["a", "b"])).toMatchObject({ text: "ab", stopped: false, given: ["a", "b"] })
})

test("StopMatcher cuts at the first of several, the longest where two end together", () => {
  expect(run(["two", "one"], ["zero one two"])).toMatchObject({ text: "zero ", stopped: true })
  expect(run(["b", "ab"], ["xab"])).toMatchObject({ text: "x", stopped: true })
  expect(run(["aab"], ["aaab"])).toMatchObject({ text: "a", stopped: true })
})

test("StopMatcher gives nothing after it has stopped", () => {
  const matcher = new StopMatcher(["x"])
  expect(matcher.push("ax")).toEqual({ text: "a", stopped: true })
  expect(matcher.push("b")).toEqual({ text: "", stopped: true })
  expect(matcher.flush()).toBe("")
})

test("StopMatcher does the same whatever the chunks", () => {
  const random = randomFrom(5)
  const word = (n: number) => Array.from({ length: n }, () => (random() < 0.5 ? "a" : "b")).join("")
  for (let round = 0; round < 2000; round++) {
    const stops = Array.from({ length: 1 + Math.floor(random() * 3) }, () => word(1 + Math.floor(random() * 6)))
    const text = word(30)
    const byCharacter = run(stops, text)
    const byChunk = run(stops, chunks(text, random))
    expect(byChunk.text).toBe(byCharacter.text)
    expect(byChunk.stopped).toBe(byCharacter.stopped)
    expect(byChunk.stopped).toBe(stops.some((stop) => text.includes(stop)))
    expect(stops.some((stop) => byChunk.text.includes(stop))).toBe(false)
  }
})

test("StopMatcher refuses an empty stop string", () => {
  expect(() => new StopMatcher(["a", ""])).toThrow(
    new RangeError("stop: string 1 is empty, expected at least one character"),
  )
})
