import { describe, expect, test } from "vitest"
import { parseGenerationConfig } from "../../src/model/config.ts"
import { fixtureJson } from "./fixture_folders.ts"

describe("parseGenerationConfig", () => {
  const read = (json: unknown) => parseGenerationConfig(json, "generation_config.json")

  test("reads the published file of the Gemma 3 chat models", () => {
    const config = read(fixtureJson("gemma-configs/gemma-3-it.generation_config.json"))
    expect(config).toEqual({ eos: [1, 106], doSample: true, topK: 64, topP: 0.95 })
  })

  test("takes one eos, none, and null for absent", () => {
    expect(read({ eos_token_id: 106, temperature: null })).toEqual({ eos: [106] })
    expect(read({})).toEqual({ eos: [] })
    expect(read({ temperature: 0.7, min_p: 0.1, repetition_penalty: 1.1 })).toEqual({
      eos: [],
      temperature: 0.7,
      minP: 0.1,
      repetitionPenalty: 1.1,
    })
  })

  test.each([
    [null, TypeError],
    [{ temperature: "hot" }, TypeError],
    [{ top_p: 1.5 }, RangeError],
    [{ top_k: -1 }, RangeError],
    [{ repetition_penalty: 0 }, RangeError],
    [{ eos_token_id: -1 }, RangeError],
    [{ do_sample: 1 }, TypeError],
  ])("refuses %j", (json, type) => {
    expect(() => read(json)).toThrow(type)
    expect(() => read(json)).toThrow(/^generation_config\.json: /)
  })
})
