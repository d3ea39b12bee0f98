import { mkdtemp, readdir, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import {
  type DistillRunOptions,
  directoryStore,
  distill,
  type LanguageModel,
  memorySource,
  memoryStore,
  openTeacherCache,
  type TeacherCache,
  type TeachOptions,
  type TeachStep,
  type TuneStep,
  teach,
} from "../../src/index.ts"
import { encodeF16 } from "../../src/model/dtype.ts"
import { readHeader } from "../../src/model/safetensors.ts"
import { batchesOf } from "../../src/train/batch_source.ts"
import type { Row } from "../../src/train/packing.ts"
import { expectClose } from "../helpers/compare.ts"
import { random } from "../helpers/random_checkpoint.ts"
import { STORIES } from "../helpers/stories.ts"
import { logitsOf, openModel, studentFolder, teacherFolder, withOtherToken } from "../helpers/teachers.ts"
import { allSteps } from "../helpers/training.ts"
import { IGNORED, row, softmax, topK } from "../reference/distill.ts"

const V = 4096
const FEW = STORIES.slice(0, 10)
const DATA = { context: 24, heldOut: 2, seed: 3 }
const RUN: DistillRunOptions = {
  ...{ steps: 6, batch: 2, rate: 1e-2, warmup: 1, rank: 4, seed: 3, targets: ["q_proj", "up_proj"] },
  evaluateEvery: 3,
}

let student: LanguageModel
let teacher: LanguageModel
/** The likeliest 8 at temperature 2, whole and opened. */
let bytes: Uint8Array
let cache: TeacherCache

beforeAll(async () => {
  student = await openModel(await studentFolder())
  teacher = await openModel(await teacherFolder(), student)
  bytes = (await taught({ k: 8, temperature: 2 })).bytes
  cache = await opened(bytes)
})
beforeEach(async () => {
  for (const { name } of student.adapters) await student.removeAdapter(name)
})
afterAll(async () => {
  await teacher.dispose()
  await student.dispose()
})

async function taught(options: Partial<TeachOptions>, data = FEW): Promise<{ bytes: Uint8Array; steps: TeachStep[] }> {
  const store = memoryStore()
  const steps: TeachStep[] = []
  for await (const step of teach(teacher, data, { ...DATA, ...options, store })) steps.push(step)
  return { bytes: store.files.get("teacher.safetensors")!, steps }
}

function opened(file: Uint8Array): Promise<TeacherCache> {
  return openTeacherCache({ name: "t.safetensors", source: memorySource(file) })
}

/** A row with what the teacher's logits say of it, in float64. */
async function judged(file: TeacherCache, index: number) {
  const segments = await file.row(index)
  const { targets, logits } = await logitsOf(teacher, [segments])
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
    expect(cache.info).toMatchObject({ vocabSize: V, mode: "topk", k: 8, temperature: 2, context: 24, heldOutRows: 2 })
    const batches = batchesOf(teacher, FEW, { ...DATA, batch: 1 })
    const expected: Row[] = []
    for (let i = 0; i < cache.info.rows; i++) expected.push((await batches.next()).rows[0]!)
    const rows = await Promise.all(expected.map((_, i) => cache.row(i)))
    expect(rows.map((segments) => segments.map(({ ids, labels }) => ({ ids, labels })))).toEqual(expected)
    expect(batches.state()).toMatchObject({ epoch: 1, epochRows: 0 })
    for (const { ids, probs, scored, p } of await judged(cache, 1)) {
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
    const file = await opened((await taught({ packing, k: 1, heldOut: 0 })).bytes)
    const tokens = FEW.reduce((sum, { text }) => sum + student.tokenizer!.encode(text).length + 1, 0)
    expect(file.info.rows).toBe(packing === "none" ? FEW.length : Math.floor(tokens / DATA.context))
    expect(file.info.heldOutRows).toBe(0)
  })

  test("writes rows in groups, and reads them from theirs", async () => {
    const data = Array.from({ length: 5 }, (_, i) => ({ text: `${i}` }))
    const settings = { packing: "none" as const, context: 128, heldOut: 0, mode: "count" as const, k: 4096 }
    const file = await opened((await taught({ ...settings, shuffle: false, rowsAtOnce: 3 }, data)).bytes)
    expect(file.info).toMatchObject({ rows: 5, rowsPerGroup: 4 })
    for (const i of [0, 2, 3, 4]) {
      const [segment] = await file.row(i)
      expect(segment!.ids).toEqual([...student.tokenizer!.encode(`${i}`), 1])
      const [{ p, ids, probs }] = (await judged(file, i)) as [Awaited<ReturnType<typeof judged>>[0]]
      const [likeliest] = topK(p, 1)
      const share = probs.reduce((sum, share, j) => (ids[j] === likeliest ? sum + share : sum), 0)
      expect(Math.abs(share - p[likeliest!]!)).toBeLessThan(0.04)
    }
  })

  test("tells what it will take, and how far it is", async () => {
    const { bytes: file, steps } = await taught({ k: 8, temperature: 2, rowsAtOnce: 2 })
    const { rows } = cache.info
    expect(steps[0]).toMatchObject({ rows: 0, of: rows, heldOutRows: 2, tokens: 0 })
    expect(steps.map((step) => step.rows)).toEqual(
      [...Array(Math.ceil(rows / 2)).keys()].map((i) => 2 * i).concat(rows),
    )
    const { dataStart } = await readHeader(memorySource(file), "file")
    expect(steps[0]!.fileBytes).toBe(file.byteLength - dataStart)
    expect(steps.at(-1)!.tokens).toBeGreaterThan(rows * 12)
  })

  test("renorm draws tokens once each with their probabilities", async () => {
    const file = await opened((await taught({ mode: "renorm", k: 32 })).bytes)
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
    const file = await opened((await taught({ mode: "count", k: draws, rowsAtOnce: 1 }, FEW.slice(0, 3))).bytes)
    const rows = await judged(file, 0)
    const { logits } = await logitsOf(student, [await file.row(0)])
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
    const one = await taught({ mode: "renorm", k: 16 }, FEW.slice(0, 4))
    expect((await taught({ mode: "renorm", k: 16 }, FEW.slice(0, 4))).bytes).toEqual(one.bytes)
    const other = await taught({ mode: "renorm", k: 16, seed: 4, shuffle: false }, FEW.slice(0, 4))
    expect(other.bytes).not.toEqual(one.bytes)
  })

  test("leaves no file when it is aborted, when nobody waits for it, when its store fails; and gives its memory back", async () => {
    const directory = await mkdtemp(join(tmpdir(), "gemlet-teach-"))
    const held = teacher.memory.total
    try {
      const store = directoryStore(directory)
      const controller = new AbortController()
      const aborted = async () => {
        for await (const { rows } of teach(teacher, FEW, {
          ...DATA,
          store,
          rowsAtOnce: 1,
          signal: controller.signal,
        })) {
          if (rows === 2) controller.abort()
        }
      }
      await expect(aborted()).rejects.toThrow(/abort/i)
      for await (const { rows } of teach(teacher, FEW, { ...DATA, store, rowsAtOnce: 1 })) if (rows === 2) break
      expect(await readdir(directory)).toEqual([])
      const full = { ...store, write: async () => Promise.reject(new Error("ENOSPC: no space left on device")) }
      const failed = async () => {
        for await (const _ of teach(teacher, FEW, { ...DATA, store: full }));
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
        for await (const _ of teach(teacher, FEW, { ...DATA, store: failsLater }));
      }
      await expect(broken()).rejects.toThrow("EIO: i/o error")
      expect(await readdir(directory)).toEqual([])
      expect(teacher.memory.total).toBe(held)
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  test("names what cannot be", () => {
    const refused = (options: Partial<TeachOptions>) =>
      expect(() => teach(teacher, FEW, { ...DATA, store: memoryStore(), ...options }))
    refused({ mode: "all" as "topk" }).toThrow("mode: is all, expected one of topk, renorm, count")
    refused({ k: 257 }).toThrow("k: is 257, expected a whole number from 1 to 256")
    refused({ mode: "count", k: 5000 }).toThrow("k: is 5000, expected a whole number from 1 to 4096")
    refused({ temperature: 0 }).toThrow("temperature: is 0, expected a number above 0")
    refused({ rowsAtOnce: 0 }).toThrow("rowsAtOnce: is 0, expected a whole number from 1 on")
    refused({ context: 1000 }).toThrow("context: is 1000")
  })
})

describe("openTeacherCache", () => {
  async function readAll(file: TeacherCache): Promise<void> {
    for (let i = 0; i < file.info.rows; i++) await file.row(i)
    for (let i = 0; i < file.info.heldOutRows; i++) await file.heldOutRow(i)
  }

  /** The file with other bytes in one of its tensors, from an element on. */
  async function edited(tensor: string, element: number, data: Int32Array | Uint16Array): Promise<TeacherCache> {
    const { tensors } = await readHeader(memorySource(bytes), "file")
    const copy = bytes.slice()
    const at = tensors.get(tensor)!.start + element * data.BYTES_PER_ELEMENT
    copy.set(new Uint8Array(data.buffer), at)
    return opened(copy)
  }

  function withMetadata(change: (text: string) => string): Promise<TeacherCache> {
    const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
    const header = new TextDecoder().decode(bytes.subarray(8, 8 + length))
    const changed = change(header)
    expect(changed).not.toBe(header)
    return opened(
      Uint8Array.of(...bytes.subarray(0, 8), ...new TextEncoder().encode(changed), ...bytes.subarray(8 + length)),
    )
  }

  test("reads what teach wrote", async () => {
    await readAll(cache)
  })

  test("names what is wrong with a header", async () => {
    await expect(opened(bytes.subarray(0, bytes.length - 1))).rejects.toThrow(/^t.safetensors: .*cut short/)
    const text = (is: string, other: string) => withMetadata((header) => header.replace(is, other))
    await expect(text('\\"version\\":1', '\\"version\\":2')).rejects.toThrow(
      "t.safetensors: gemlet_teacher.version is 2, expected 1",
    )
    await expect(text('\\"k\\":8', '\\"k\\":7')).rejects.toThrow(
      /rows.00000.ids is U32 \[\d, 24, 8\], expected U32 \[\d, 24, 7\]/,
    )
    await expect(text('\\"mode\\":\\"topk', '\\"mode\\":\\"topj')).rejects.toThrow('mode is "topj", expected topk or')
    await expect(text("gemlet_teacher", "gemlet_preacher".slice(0, 14))).rejects.toThrow(
      "t.safetensors: gemlet_teacher is missing, expected a teacher cache",
    )
  })

  test("names what is wrong with a row when it is read", async () => {
    const wrong = async (tensor: string, element: number, data: Int32Array | Uint16Array, message: string) =>
      expect(readAll(await edited(tensor, element, data))).rejects.toThrow(`t.safetensors: ${message}`)
    const ints = (...values: number[]) => Int32Array.from(values)
    const halves = (...values: number[]) => encodeF16(Float32Array.from(values))
    await wrong("rows.00000.tokens", 25, ints(V), "token in row 1 is 4096, expected 0 to 4095")
    await wrong("rows.00000.labels", 3, ints(-5), "label in row 0 is -5, expected 0 to 4095")
    await wrong("rows.00000.starts", 1, ints(7), "start in row 0 is 7, expected 0, 1 or -1")
    await wrong("rows.00000.starts", 0, ints(-1), "number of targets in row 0 is 0, expected at least 1")
    await wrong("rows.00000.ids", 0, ints(-1), "teacher's id in row 0 is 4294967295, expected 0 to 4095")
    const { teacherIds } = (await cache.row(0))[0]!
    const twice = `teacher's id in row 0 is ${teacherIds[1]}, expected once at position 0`
    await wrong("rows.00000.ids", 0, ints(teacherIds[1]!), twice)
    await wrong("rows.00000.probs", 0, halves(Number.NaN), "probability in row 0 is NaN, expected 0 to 1")
    await wrong("rows.00000.probs", 0, halves(-0.25), "probability in row 0 is -0.25, expected 0 to 1")
    await wrong("rows.00000.probs", 0, halves(0.5, 0.75), "sum of probabilities in row 0 is 1.")
    await wrong(
      "rows.00000.probs",
      0,
      halves(...Array(8).fill(0)),
      "sum of probabilities in row 0 is 0, expected above 0",
    )
    await wrong("held_out.00000.tokens", 0, ints(-1), "token in held-out row 0 is -1, expected 0 to 4095")
  })

  test("gives a hundred damaged files a named error, or reads them", async () => {
    const next = random(7)
    const { dataStart } = await readHeader(memorySource(bytes), "file")
    let refused = 0
    for (let i = 0; i < 100; i++) {
      const length = i % 4 === 0 ? Math.floor(next() * bytes.length) : bytes.length
      const copy = bytes.slice(0, length)
      const most = i % 2 === 0 ? dataStart : copy.length
      for (let n = 0; n < 3; n++) copy[Math.floor(next() * most)] = Math.floor(next() * 256)
      const error = await opened(copy)
        .then(readAll)
        .catch((error: unknown) => error)
      if (error === undefined) continue
      refused++
      expect(error).toBeInstanceOf(Error)
      expect(["SyntaxError", "RangeError", "TypeError"]).toContain((error as Error).name)
      expect((error as Error).message).toMatch(
        /^t\.safetensors: .* is .*, expected |^t\.safetensors: .*(ends|starts) at|JSON/s,
      )
    }
    expect(refused).toBeGreaterThan(50)
  })
})

describe("distill from a teacher cache", () => {
  test("makes the steps of a live teacher's likeliest tokens", async () => {
    const data = { ...DATA, shuffle: false, heldOutFrom: "end" as const }
    const file = await opened((await taught({ ...data, k: 8, temperature: 2 })).bytes)
    for (const options of [{}, { kind: "jsd" as const, mix: 0.5 }]) {
      const live = { ...RUN, ...data, ...options, topK: 8, temperature: 2 }
      const expected = await allSteps(distill(student, teacher, FEW, live))
      await student.removeAdapter("tuned")
      const steps = await allSteps(distill(student, file, { ...RUN, ...options, shuffle: false }))
      await student.removeAdapter("tuned")
      const figures = (steps: TuneStep[]) =>
        steps.flatMap(({ loss, heldOut, gradientNorm }) => [loss, heldOut, gradientNorm].map((x) => x ?? 0))
      expectClose(figures(steps), figures(expected), { relative: 2 ** -10 }, { what: "losses and norms" })
      expect(steps.filter(({ heldOut }) => heldOut !== undefined).length).toBe(3)
    }
  })

  test("goes on from a checkpoint to the bit", async () => {
    const settings = { ...RUN, batch: 3, saveEvery: 3 }
    const reference = await allSteps(distill(student, cache, { ...settings, store: memoryStore() }))
    await student.removeAdapter("tuned")
    const store = memoryStore()
    const stopped = distill(student, cache, { ...settings, store })
    for await (const { step } of stopped) if (step === 4) break
    stopped.dispose()
    await student.removeAdapter("tuned")
    const rest = await allSteps(distill(student, cache, { ...settings, store, resume: true }))
    expect(rest.map(({ loss }) => loss)).toEqual(reference.slice(-3).map(({ loss }) => loss))
    await student.removeAdapter("tuned")
    const other = await opened((await taught({ k: 4, temperature: 2 })).bytes)
    const refused = distill(student, other, { ...settings, store, resume: true }).prepare()
    await expect(refused).rejects.toThrow(/resume: objective is/)
  })

  test("gives every row once an epoch, each epoch in another order", async () => {
    const seen = new Map<string, number>()
    const inOrder: string[] = []
    const { rows } = cache.info
    for (let i = 0; i < rows; i++) inOrder.push(JSON.stringify((await cache.row(i)).map(({ ids }) => ids)))
    const { CacheBatches } = await import("../../src/train/cache_batches.ts")
    const batches = new CacheBatches(cache, { rows: 1, seed: 3, shuffle: true })
    const order: string[] = []
    for (let i = 0; i < 2 * rows; i++) {
      const [row] = (await batches.next()).rows
      const key = JSON.stringify(row!.map(({ ids }) => ids))
      order.push(key)
      seen.set(key, (seen.get(key) ?? 0) + 1)
    }
    expect([...seen.values()]).toEqual(inOrder.map(() => 2))
    expect(order.slice(0, rows)).not.toEqual(order.slice(rows))
    expect(() => batches.restore({ ...batches.state(), next: rows })).toThrow(`state's next is ${rows}, expected`)
    expect(() => new CacheBatches(cache, { rows: 1, seed: 4, shuffle: true }).restore(batches.state())).toThrow(
      "state's seed is 3, expected 4 as in the options",
    )
  })

  test("gives its memory back", async () => {
    const held = student.memory.total
    await allSteps(distill(student, cache, { ...RUN, steps: 1 }))
    await student.removeAdapter("tuned")
    expect(student.memory.total).toBe(held)
  })

  test("names what cannot be", async () => {
    const refused = (options: DistillRunOptions) => expect(() => distill(student, cache, options))
    refused({ context: 32 }).toThrow("context: is 32, expected 24 as in t.safetensors")
    refused({ packing: "stream" }).toThrow("packing: is stream, expected documents as in t.safetensors")
    refused({ temperature: 1 }).toThrow("temperature: is 1, expected 2 as in t.safetensors")
    refused({ topK: 4 }).toThrow("topK: is given with a teacher cache, expected none: t.safetensors has its own")
    refused({ heldOut: 1 }).toThrow("heldOut: is given with a teacher cache")
    refused({ kind: "jsd", over: "full" }).toThrow("over: is full with jsd, expected support or tail")
    const counts = await opened((await taught({ mode: "count", k: 4 }, FEW.slice(0, 3))).bytes)
    expect(() => distill(student, counts, { over: "tail" })).toThrow("over: is tail with counts, expected full or")
    const larger = await openModel(await studentFolder({ vocab_size: 4100 }), student)
    const other = await openModel(await withOtherToken(await studentFolder()), student)
    try {
      expect(() => distill(larger, cache)).toThrow("t.safetensors: teacher has 4096 tokens, expected 4100 as")
      expect(() => distill(other, cache)).toThrow(
        "t.safetensors: teacher has another tokenizer, expected that of other",
      )
    } finally {
      await larger.dispose()
      await other.dispose()
    }
  })
})
