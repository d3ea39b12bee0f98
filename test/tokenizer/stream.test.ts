import { describe, expect, test } from "vitest"
import { TextStream } from "../../src/tokenizer/stream.ts"
import { createTokenizer, type Tokenizer } from "../../src/tokenizer/tokenizer.ts"
import { byteLevelJson, chunks, names, randomFrom, texts, tokenizerOf, vectorTexts } from "./fixtures.ts"

const bytes = (tokenizer: Tokenizer, ...values: number[]) =>
  values.map((byte) => tokenizer.tokenToId(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`)!)

describe.each(names)("TextStream of %s", (name) => {
  test("joined is decode, whatever the chunks, and no piece ends in half a character", () => {
    const tokenizer = tokenizerOf(name)
    const random = randomFrom(3)
    for (const text of [...texts, ...vectorTexts()]) {
      const ids = tokenizer.encode(text)
      for (const skipSpecial of [true, false]) {
        const full = tokenizer.decode(ids, { skipSpecial })
        for (const longest of [1, 2, 9]) {
          const stream = new TextStream(tokenizer, { skipSpecial })
          let joined = ""
          for (const some of chunks(ids, random, longest)) {
            joined += stream.push(some)
            expect(full.startsWith(joined)).toBe(true)
            expect(joined).not.toMatch(/\p{Surrogate}/u)
          }
          expect(joined).toBe(full) // nothing waits for flush: whole characters come at once
          expect(stream.flush()).toBe("")
        }
      }
    }
  })

  test("joined is decode for random ids and broken UTF-8", () => {
    const tokenizer = tokenizerOf(name)
    const random = randomFrom(4)
    const byteIds = bytes(tokenizer, ...Array.from({ length: 256 }, (_, byte) => byte))
    for (let round = 0; round < 300; round++) {
      const ids = Array.from({ length: 30 }, () =>
        random() < 0.7 ? byteIds[128 + Math.floor(random() * 128)]! : Math.floor(random() * tokenizer.vocabSize),
      )
      const stream = new TextStream(tokenizer)
      let joined = ""
      for (const some of chunks(ids, random)) joined += stream.push(some)
      expect(joined + stream.flush()).toBe(tokenizer.decode(ids))
    }
  })

  test("gives a character when its last byte comes", () => {
    const tokenizer = tokenizerOf(name)
    const stream = new TextStream(tokenizer)
    const given = bytes(tokenizer, 0xf0, 0x9f, 0xa6, 0x99, 0xe2, 0x82, 0xac).map((id) => stream.push([id]))
    expect(given).toEqual(["", "", "", "🦙", "", "", "€"])
  })

  test("gives U+FFFD where a character breaks off, at once or at flush", () => {
    const tokenizer = tokenizerOf(name)
    const stream = new TextStream(tokenizer)
    const x = tokenizer.tokenToId("x")!
    expect(stream.push(bytes(tokenizer, 0xf0, 0x9f))).toBe("")
    expect(stream.push([x])).toBe("\ufffdx")
    expect(stream.push(bytes(tokenizer, 0xff, 0xe2))).toBe("\ufffd")
    expect(stream.flush()).toBe("\ufffd")
    expect(stream.flush()).toBe("")
  })
})

test("TextStream drops Llama's first space once, and none after a prompt", () => {
  const tokenizer = tokenizerOf("llama")
  const ids = tokenizer.encode("Hello world again", { bos: false })
  const fresh = new TextStream(tokenizer)
  expect(ids.map((id) => fresh.push([id]))).toEqual(["Hello", " world", " again"])
  const continued = new TextStream(tokenizer)
  continued.push(tokenizer.encode("Say:"))
  expect(ids.map((id) => continued.push([id]))).toEqual([" Hello", " world", " again"])
})

test("TextStream of byte-level tokens never gives half a character", () => {
  const tokenizer = createTokenizer({ tokenizerJson: byteLevelJson })
  const stream = new TextStream(tokenizer)
  const given = tokenizer.encode("Hé😀").map((id) => stream.push([id]))
  expect(given).toEqual(["H", "", "é", "", "", "", "😀"])
})

test("TextStream takes time in proportion to the ids", () => {
  const tokenizer = tokenizerOf("storyteller")
  const text = "Once upon a time 🦙 there was a little girl. ".repeat(10_000)
  const ids = tokenizer.encode(text)
  const stream = new TextStream(tokenizer)
  const start = performance.now()
  let length = 0
  for (const id of ids) length += stream.push([id]).length
  expect(length).toBe(text.length)
  expect(performance.now() - start).toBeLessThan(5000)
})
