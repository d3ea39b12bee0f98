import { mkdtemp, readdir, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import {
  directoryStore,
  memorySource,
  memoryStore,
  type TeacherCache,
  type TeachOptions,
  teach,
} from "../../src/index.ts"
import { readHeader } from "../../src/model/safetensors.ts"
import { batchesOf } from "../../src/train/batch_source.ts"
import type { Row } from "../../src/train/packing.ts"
import { DATA, FEW, opened, taughtModels } from "../helpers/teacher_cache.ts"
import { logitsOf } from "../helpers/teachers.ts"
import { IGNORED, row, softmax, topK } from "../reference/distill.ts"

const V = 4096
const models = taughtModels()

/** A row with what the models.teacher's logits say of it, in float64. */
async function judged(file: TeacherCache, index: number) {
  const segments = await file.row(index)
  const { targets, logits } = await logitsOf(models.teacher, [segments])
  const { k, temperature } = file.info
  const ids = segments.flatMap(({ teacherIds }) => [...teacherIds])
  const probs = segments.flatMap(({ teacherProbs }) => [...teacherProbs])
  return targets.flatMap((target, t) => {
    const here = { ids: ids.slice(t * k, (t + 1) * k), probs: probs.slice(t * k, (t + 1) * k) }
    return [{ ...here, scored: target !== IGNORED, p: softmax(row(logits, t, V), temperature) }]
  })
}

/** Within float16's rounding, and that of the model before it. */
function expectRounded(probs: readonly number[], expected: readonly number[]): void {
  expect(probs.length).toBe(expected.length)
  for (const [i, p] of expected.entries()) expect(Math.abs(probs[i]! - p)).toBeLessThan(p * 2 ** -10 + 2 ** -25)
}

describe("teach", () => {
  test("keeps the likeliest tokens of every position that is scored, and the rows of one epoch", async () => {
    expect(models.cache.info).toMatchObject({
      vocabSize: V,
      mode: "topk",
      k: 8,
      temperature: 2,
      context: 24,
      heldOutRows: 2,
    })
    const batches = batchesOf(models.teacher, FEW, { ...DATA, batch: 1 })
    const expected: Row[] = []
    for (let i = 0; i < models.cache.info.rows; i++) expected.push((await batches.next()).rows[0]!)
    const rows = await Promise.all(expected.map((_, i) => models.cache.row(i)))
    expect(rows.map((segments) => segments.map(({ ids, labels }) => ({ ids, labels })))).toEqual(expected)
    expect(batches.state()).toMatchObject({ epoch: 1, epochRows: 0 })
    for (const { ids, probs, scored, p } of await judged(models.cache, 1)) {
      if (scored) {
        expect(ids).toEqual(topK(p, 8))
        expectRounded(
          probs,
          ids.map((id) => p[id]!),
        )
      } else expect([...ids, ...probs].every((value) => value === 0)).toBe(true)
    }
  })

  test.each(["stream", "none"] as const)("knows where an epoch of rows ends: %s", async (packing) => {
    const file = await opened((await models.taught({ packing, k: 1, heldOut: 0 })).bytes)
    const tokens = FEW.reduce((sum, { text }) => sum + models.student.tokenizer!.encode(text).length + 1, 0)
    expect(file.info.rows).toBe(packing === "none" ? FEW.length : Math.floor(tokens / DATA.context))
    expect(file.info.heldOutRows).toBe(0)
  })

  test("writes rows in groups, and reads them from theirs", async () => {
    const data = Array.from({ length: 5 }, (_, i) => ({ text: `${i}` }))
    const settings = { packing: "none" as const, context: 128, heldOut: 0, mode: "count" as const, k: 4096 }
    const file = await opened((await models.taught({ ...settings, shuffle: false, rowsAtOnce: 3 }, data)).bytes)
    expect(file.info).toMatchObject({ rows: 5, rowsPerGroup: 4 })
    for (const i of [0, 2, 3, 4]) {
      const [segment] = await file.row(i)
      expect(segment!.ids).toEqual([...models.student.tokenizer!.encode(`${i}`), 1])
      const [{ p, ids, probs }] = (await judged(file, i)) as [Awaited<ReturnType<typeof judged>>[0]]
      const [likeliest] = topK(p, 1)
      const share = probs.reduce((sum, share, j) => (ids[j] === likeliest ? sum + share : sum), 0)
      expect(Math.abs(share - p[likeliest!]!)).toBeLessThan(0.04)
    }
  })

  test("tells what it will take, and how far it is", async () => {
    const { bytes: file, steps } = await models.taught({ k: 8, temperature: 2, rowsAtOnce: 2 })
    const { rows } = models.cache.info
    expect(steps[0]).toMatchObject({ rows: 0, of: rows, heldOutRows: 2, tokens: 0 })
    expect(steps.map((step) => step.rows)).toEqual(
      [...Array(Math.ceil(rows / 2)).keys()].map((i) => 2 * i).concat(rows),
    )
    const { dataStart } = await readHeader(memorySource(file), "file")
    expect(steps[0]!.fileBytes).toBe(file.byteLength - dataStart)
    expect(steps.at(-1)!.tokens).toBeGreaterThan(rows * 12)
  })

  test("renorm draws tokens once each with their probabilities", async () => {
    const file = await opened((await models.taught({ mode: "renorm", k: 32 })).bytes)
    for (const { ids, probs, p } of (await judged(file, 0)).filter(({ scored }) => scored)) {
      const used = ids.filter((_, i) => probs[i]! > 0)
      expect(new Set(used).size).toBe(used.length)
      expectRounded(
        probs.filter((x) => x > 0),
        used.map((id) => p[id]!),
      )
    }
  })

  test("counts are right on average: the cross-entropy they give is the dense one", async () => {
    const draws = 4096
    const file = await opened((await models.taught({ mode: "count", k: draws, rowsAtOnce: 1 }, FEW.slice(0, 3))).bytes)
    const rows = await judged(file, 0)
    const { logits } = await logitsOf(models.student, [await file.row(0)])
    const scores = rows.flatMap(({ ids, probs, scored, p }, t) => {
      if (!scored) return []
      expect(probs.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 6)
      const loss = softmax(row(logits, t, V), 1).map((q) => -Math.log(q))
      const dense = p.reduce((sum, share, v) => sum + share * loss[v]!, 0)
      const square = p.reduce((sum, share, v) => sum + share * (loss[v]! - dense) ** 2, 0)
      const sampled = probs.reduce((sum, share, i) => sum + share * loss[ids[i]!]!, 0)
      return [(sampled - dense) / Math.sqrt(square / draws)]
    })
    expect(scores.length).toBeGreaterThan(10)
    for (const score of scores) expect(Math.abs(score)).toBeLessThan(4)
    const mean = scores.reduce((sum, score) => sum + score, 0) / Math.sqrt(scores.length)
    expect(Math.abs(mean)).toBeLessThan(3)
  })

  test("the same seed draws the same, another another", async () => {
    const one = await models.taught({ mode: "renorm", k: 16 }, FEW.slice(0, 4))
    expect((await models.taught({ mode: "renorm", k: 16 }, FEW.slice(0, 4))).bytes).toEqual(one.bytes)
    const other = await models.taught({ mode: "renorm", k: 16, seed: 4, shuffle: false }, FEW.slice(0, 4))
    expect(other.bytes).not.toEqual(one.bytes)
  })

  test("leaves no file when it is aborted, when nobody waits for it, when its store fails; and gives its memory back", async () => {
    const directory = await mkdtemp(join(tmpdir(), "gemlet-teach-"))
    const held = models.teacher.memory.total
    try {
      const store = directoryStore(directory)
      const controller = new AbortController()
      const aborted = async () => {
        for await (const { rows } of teach(models.teacher, FEW, {
          ...DATA,
          store,
          rowsAtOnce: 1,
          signal: controller.signal,
        })) {
          if (rows === 2) controller.abort()
        }
      }
      await expect(aborted()).rejects.toThrow(/abort/i)
      for await (const { rows } of teach(models.teacher, FEW, { ...DATA, store, rowsAtOnce: 1 })) if (rows === 2) break
      expect(await readdir(directory)).toEqual([])
      const full = { ...store, write: async () => Promise.reject(new Error("ENOSPC: no space left on device")) }
      const failed = async () => {
        for await (const _ of teach(models.teacher, FEW, { ...DATA, store: full }));
      }
      await expect(failed()).rejects.toThrow("ENOSPC: no space left on device")
      const later = directoryStore(directory)
      const failsLater: typeof later = {
        ...later,
        write: (file, chunks) =>
          later.write(
            file,
            (async function* () {
              for await (const chunk of chunks) {
                yield chunk
                throw new Error("EIO: i/o error")
              }
            })(),
          ),
      }
      const broken = async () => {
        for await (const _ of teach(models.teacher, FEW, { ...DATA, store: failsLater }));
      }
      await expect(broken()).rejects.toThrow("EIO: i/o error")
      expect(await readdir(directory)).toEqual([])
      expect(models.teacher.memory.total).toBe(held)
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  test("names what cannot be", () => {
    const refused = (options: Partial<TeachOptions>) =>
      expect(() => teach(models.teacher, FEW, { ...DATA, store: memoryStore(), ...options }))
    refused({ mode: "all" as "topk" }).toThrow("mode: is all, expected one of topk, renorm, count")
    refused({ k: 257 }).toThrow("k: is 257, expected a whole number from 1 to 256")
    refused({ mode: "count", k: 5000 }).toThrow("k: is 5000, expected a whole number from 1 to 4096")
    refused({ temperature: 0 }).toThrow("temperature: is 0, expected a number above 0")
    refused({ rowsAtOnce: 0 }).toThrow("rowsAtOnce: is 0, expected a whole number from 1 on")
    refused({ context: 1000 }).toThrow("context: is 1000")
  })
})
