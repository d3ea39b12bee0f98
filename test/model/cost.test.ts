import { describe, expect, test } from "vitest"
import { parseConfig } from "../../src/model/config.ts"
import {
  cacheCapacity,
  flopsPerToken,
  kvCacheBytes,
  kvCacheBytesAllGlobal,
  kvCacheBytesFormula,
  parameterCounts,
} from "../../src/model/cost.ts"
import { fixtureJson } from "./fixture_folders.ts"
import { gemma3Sizes } from "./gemma3_sizes.ts"

// Millions and GB by the Gemma 3 report's Table 1 and by arithmetic on the published configs.
const table = [
  { size: "270M", rest: 100, embedding: 168, kv32: 0.11, global32: 0.6, kv128: 0.41 },
  { size: "1B", rest: 698, embedding: 302, kv32: 0.15, global32: 0.87, kv128: 0.55 },
  { size: "4B", rest: 3209, embedding: 671, kv32: 0.79, global32: 4.56, kv128: 2.81 },
  { size: "12B", rest: 10759, embedding: 1007, kv32: 2.48, global32: 12.88, kv128: 8.93 },
  { size: "27B", rest: 25600, embedding: 1409, kv32: 3.12, global32: 16.64, kv128: 11.17 },
] as const

describe.each(table)("Gemma 3 $size", ({ size, rest, embedding, kv32, global32, kv128 }) => {
  const config = gemma3Sizes()[size]

  test("parameterCounts gives the published millions", () => {
    const counts = parameterCounts(config)
    expect(Math.round((counts.total - counts.embedding) / 1e6)).toBe(rest)
    expect(Math.round((262144 * config.hiddenSize) / 1e6)).toBe(embedding)
    expect(counts.embedding).toBe(config.vocabSize * config.hiddenSize)
    expect(counts.head).toBe(0)
    expect(counts.embedding + counts.attention + counts.mlp + counts.norms).toBe(counts.total)
  })

  test("kvCacheBytesFormula gives the GB of the interleaved layout", () => {
    expect(kvCacheBytesFormula(config, 32768, 2) / 1e9).toBeCloseTo(kv32, 2)
    expect(kvCacheBytesFormula(config, 131072, 2) / 1e9).toBeCloseTo(kv128, 2)
  })

  test("kvCacheBytesAllGlobal gives the GB without windows", () => {
    expect(kvCacheBytesAllGlobal(config, 32768, 2) / 1e9).toBeCloseTo(global32, 2)
  })

  test("kvCacheBytes adds one chunk to each ring and nothing beyond the context", () => {
    const locals = config.layers.filter(({ window }) => window !== null).length
    const ring = 2 * config.numKvHeads * config.headDim * 2 * 256 * locals
    const allocated = kvCacheBytes(config, 32768, { chunk: 256, bytesPerElement: 2 })
    expect(allocated).toBe(kvCacheBytesFormula(config, 32768, 2) + ring)
    expect(kvCacheBytes(config, 100, { chunk: 256, bytesPerElement: 4 })).toBe(kvCacheBytesAllGlobal(config, 100, 4))
  })
})

test("cacheCapacity holds the window and the chunk, or all of a shorter context", () => {
  expect(cacheCapacity(null, 1000, 64)).toBe(1000)
  expect(cacheCapacity(128, 1000, 64)).toBe(192)
  expect(cacheCapacity(128, 150, 64)).toBe(150)
})

test("parameterCounts counts an untied head", () => {
  const config = parseConfig({ ...fixtureJson("stories260K/config.json"), tie_word_embeddings: false }, "config.json")
  expect(parameterCounts(config)).toMatchObject({ embedding: 512 * 64, head: 512 * 64 })
})

test("flopsPerToken grows with the visible keys and stops at the window", () => {
  const config = gemma3Sizes()["1B"]
  const counts = parameterCounts(config)
  const perKey = 4 * 4 * 256
  const first = 2 * (counts.attention + counts.mlp + 262144 * 1152) + perKey * 26
  expect(flopsPerToken(config, 0)).toBe(first)
  expect(flopsPerToken(config, 1) - first).toBe(perKey * 26)
  expect(flopsPerToken(config, 1001) - flopsPerToken(config, 1000)).toBe(perKey * 4)
})
