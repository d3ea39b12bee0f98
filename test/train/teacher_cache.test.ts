import { describe, expect, test } from "vitest"
import {
  type DistillRunOptions,
  distill,
  memorySource,
  memoryStore,
  type TeacherCache,
  type TuneStep,
} from "../../src/index.ts"
import { encodeF16 } from "../../src/model/dtype.ts"
import { readHeader } from "../../src/model/safetensors.ts"
import { expectClose } from "../helpers/compare.ts"
import { random } from "../helpers/random_checkpoint.ts"
import { DATA, FEW, opened, taughtModels } from "../helpers/teacher_cache.ts"
import { openModel, studentFolder, withOtherToken } from "../helpers/teachers.ts"
import { allSteps } from "../helpers/training.ts"

const V = 4096
const RUN: DistillRunOptions = {
  ...{ steps: 6, batch: 2, rate: 1e-2, warmup: 1, rank: 4, seed: 3, targets: ["q_proj", "up_proj"] },
  evaluateEvery: 3,
}
const models = taughtModels()

describe("openTeacherCache", () => {
  async function readAll(file: TeacherCache): Promise<void> {
    for (let i = 0; i < file.info.rows; i++) await file.row(i)
    for (let i = 0; i < file.info.heldOutRows; i++) await file.heldOutRow(i)
  }

  /** The file with other bytes in one of its tensors, from an element on. */
  async function edited(tensor: string, element: number, data: Int32Array | Uint16Array): Promise<TeacherCache> {
    const { tensors } = await readHeader(memorySource(models.bytes), "file")
    const copy = models.bytes.slice()
    const at = tensors.get(tensor)!.start + element * data.BYTES_PER_ELEMENT
    copy.set(new Uint8Array(data.buffer), at)
    return opened(copy)
  }

  function withMetadata(change: (text: string) => string): Promise<TeacherCache> {
    const length = Number(new DataView(models.bytes.buffer, models.bytes.byteOffset).getBigUint64(0, true))
    const header = new TextDecoder().decode(models.bytes.subarray(8, 8 + length))
    const changed = change(header)
    expect(changed).not.toBe(header)
    return opened(
      Uint8Array.of(
        ...models.bytes.subarray(0, 8),
        ...new TextEncoder().encode(changed),
        ...models.bytes.subarray(8 + length),
      ),
    )
  }

  test("reads what teach wrote", async () => {
    await readAll(models.cache)
  })

  test("names what is wrong with a header", async () => {
    await expect(opened(models.bytes.subarray(0, models.bytes.length - 1))).rejects.toThrow(
      /^t.safetensors: .*cut short/,
    )
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
    const { teacherIds } = (await models.cache.row(0))[0]!
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
    const { dataStart } = await readHeader(memorySource(models.bytes), "file")
    let refused = 0
    for (let i = 0; i < 100; i++) {
      const length = i % 4 === 0 ? Math.floor(next() * models.bytes.length) : models.bytes.length
      const copy = models.bytes.slice(0, length)
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
    const file = await opened((await models.taught({ ...data, k: 8, temperature: 2 })).bytes)
    for (const options of [{}, { kind: "jsd" as const, mix: 0.5 }]) {
      const live = { ...RUN, ...data, ...options, topK: 8, temperature: 2 }
      const expected = await allSteps(distill(models.student, models.teacher, FEW, live))
      await models.student.removeAdapter("tuned")
      const steps = await allSteps(distill(models.student, file, { ...RUN, ...options, shuffle: false }))
      await models.student.removeAdapter("tuned")
      const figures = (steps: TuneStep[]) =>
        steps.flatMap(({ loss, heldOut, gradientNorm }) => [loss, heldOut, gradientNorm].map((x) => x ?? 0))
      expectClose(figures(steps), figures(expected), { relative: 2 ** -10 }, { what: "losses and norms" })
      expect(steps.filter(({ heldOut }) => heldOut !== undefined).length).toBe(3)
    }
  })

  test("goes on from a checkpoint to the bit", async () => {
    const settings = { ...RUN, batch: 3, saveEvery: 3 }
    const reference = await allSteps(distill(models.student, models.cache, { ...settings, store: memoryStore() }))
    await models.student.removeAdapter("tuned")
    const store = memoryStore()
    const stopped = distill(models.student, models.cache, { ...settings, store })
    for await (const { step } of stopped) if (step === 4) break
    stopped.dispose()
    await models.student.removeAdapter("tuned")
    const rest = await allSteps(distill(models.student, models.cache, { ...settings, store, resume: true }))
    expect(rest.map(({ loss }) => loss)).toEqual(reference.slice(-3).map(({ loss }) => loss))
    await models.student.removeAdapter("tuned")
    const other = await opened((await models.taught({ k: 4, temperature: 2 })).bytes)
    const refused = distill(models.student, other, { ...settings, store, resume: true }).prepare()
    await expect(refused).rejects.toThrow(/resume: objective is/)
  })

  test("gives every row once an epoch, each epoch in another order", async () => {
    const seen = new Map<string, number>()
    const inOrder: string[] = []
    const { rows } = models.cache.info
    for (let i = 0; i < rows; i++) inOrder.push(JSON.stringify((await models.cache.row(i)).map(({ ids }) => ids)))
    const { CacheBatches } = await import("../../src/train/cache_batches.ts")
    const batches = new CacheBatches(models.cache, { rows: 1, seed: 3, shuffle: true })
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
    expect(() => new CacheBatches(models.cache, { rows: 1, seed: 4, shuffle: true }).restore(batches.state())).toThrow(
      "state's seed is 3, expected 4 as in the options",
    )
  })

  test("gives its memory back", async () => {
    const held = models.student.memory.total
    await allSteps(distill(models.student, models.cache, { ...RUN, steps: 1 }))
    await models.student.removeAdapter("tuned")
    expect(models.student.memory.total).toBe(held)
  })

  test("names what cannot be", async () => {
    const refused = (options: DistillRunOptions) => expect(() => distill(models.student, models.cache, options))
    refused({ context: 32 }).toThrow("context: is 32, expected 24 as in t.safetensors")
    refused({ packing: "stream" }).toThrow("packing: is stream, expected documents as in t.safetensors")
    refused({ temperature: 1 }).toThrow("temperature: is 1, expected 2 as in t.safetensors")
    refused({ topK: 4 }).toThrow("topK: is given with a teacher cache, expected none: t.safetensors has its own")
    refused({ heldOut: 1 }).toThrow("heldOut: is given with a teacher cache")
    refused({ kind: "jsd", over: "full" }).toThrow("over: is full with jsd, expected support or tail")
    const counts = await opened((await models.taught({ mode: "count", k: 4 }, FEW.slice(0, 3))).bytes)
    expect(() => distill(models.student, counts, { over: "tail" })).toThrow(
      "over: is tail with counts, expected full or",
    )
    const larger = await openModel(await studentFolder({ vocab_size: 4100 }), models.student)
    const other = await openModel(await withOtherToken(await studentFolder()), models.student)
    try {
      expect(() => distill(larger, models.cache)).toThrow("t.safetensors: teacher has 4096 tokens, expected 4100 as")
      expect(() => distill(other, models.cache)).toThrow(
        "t.safetensors: teacher has another tokenizer, expected that of other",
      )
    } finally {
      await larger.dispose()
      await other.dispose()
    }
  })
})
