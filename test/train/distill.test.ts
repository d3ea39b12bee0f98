import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { type DistillRunOptions, distill, type LanguageModel, memoryStore, type Tuning, tune } from "../../src/index.ts"
import { internals } from "../../src/session.ts"
import { batchesOf } from "../../src/train/batch_source.ts"
import { liveObjective, type Support } from "../../src/train/distill_objective.ts"
import { sgd } from "../../src/train/optimizer.ts"
import type { Row } from "../../src/train/packing.ts"
import { Trainer } from "../../src/train/trainer.ts"
import { expectClose } from "../helpers/compare.ts"
import { randomCheckpoint } from "../helpers/random_checkpoint.ts"
import { STORIES } from "../helpers/stories.ts"
import { logitsOf, mean, openModel, studentFolder, teacherFolder, withOtherToken } from "../helpers/teachers.ts"
import { allSteps, IDS, SHORT_RUN } from "../helpers/training.ts"
import { type Distill, distillSparse, distill as reference, row, softmax, topK } from "../reference/distill.ts"

const V = 4096
const RUN: DistillRunOptions = { ...SHORT_RUN, rank: 4 }
const STRONG: DistillRunOptions = { targets: "all-linear", rank: 16, rate: 0.02 }
/** The gradient as it is, one small step along it after the other, always on the same rows. */
const PLAIN: DistillRunOptions = {
  ...{ optimizer: "sgd", momentum: 0, weightDecay: 0, maxNorm: 0, schedule: "constant", warmup: 0 },
  ...{ batch: 2, context: 24, packing: "none", shuffle: false, heldOut: 0, evaluateEvery: 0, steps: 2, rank: 4 },
}

describe("distill", () => {
  let student: LanguageModel
  let teacher: LanguageModel
  let rows: readonly Row[]
  let targets: number[]
  let own: Float32Array
  let other: Float32Array

  beforeAll(async () => {
    student = await openModel(await studentFolder())
    teacher = await openModel(await teacherFolder(), student)
    rows = (await batchesOf(student, STORIES, RUN).next()).rows
    ;({ targets, logits: own } = await logitsOf(student, rows))
    other = (await logitsOf(teacher, rows)).logits
  })
  beforeEach(async () => {
    for (const { name } of student.adapters) await student.removeAdapter(name)
  })
  afterAll(async () => {
    await teacher.dispose()
    await student.dispose()
  })

  /** The first step's loss, which is that of the student as it was loaded. */
  async function firstLoss(options: DistillRunOptions): Promise<number> {
    const [step] = await allSteps(
      distill(student, teacher, STORIES, { ...RUN, steps: 1, evaluateEvery: 0, ...options }),
    )
    return step!.loss!
  }

  const DENSE: Record<string, Distill> = {
    "forward KL": { kind: "forward_kl" },
    "reverse KL at temperature 2": { kind: "reverse_kl", temperature: 2 },
    "JSD(0.3), not scaled by its temperature": { kind: "jsd", beta: 0.3, temperature: 1.5, hinton: false },
    "a third of cross-entropy": { kind: "forward_kl", temperature: 2, mix: 2 / 3 },
  }

  test.each(Object.entries(DENSE))("loses what both models' logits say: %s", async (_, options) => {
    const expected = mean(reference(own, other, targets, V, options), targets)
    expectClose([await firstLoss(options)], [expected], { relative: 2e-5 }, { what: "loss" })
  })

  const SPARSE: Record<string, Distill & Support> = {
    "the teacher's 8, over all": { kind: "forward_kl", topK: 8, support: "teacher", over: "full", temperature: 2 },
    "the teacher's 8 and a tail": { kind: "jsd", topK: 8, support: "teacher", over: "tail", mix: 0.5 },
    "the student's 8 by themselves": { kind: "reverse_kl", topK: 8, support: "student", over: "support" },
  }

  test.each(Object.entries(SPARSE))("loses what both models' logits say of %s", async (_, options) => {
    const { topK: k, support, temperature = 1 } = options
    const ids = targets.flatMap((_, t) => topK(row(support === "teacher" ? other : own, t, V), k))
    const probs = targets.flatMap((_, t) => {
      const p = softmax(row(other, t, V), temperature)
      return ids.slice(t * k, (t + 1) * k).map((id) => p[id]!)
    })
    const expected = mean(distillSparse(own, { ids, probs }, targets, V, options), targets)
    expectClose([await firstLoss(options)], [expected], { relative: 2e-5 }, { what: "loss" })
  })

  test.each([
    ["forward_kl", 0.05],
    ["reverse_kl", 0.05],
    ["jsd", 2],
  ] as const)("goes down its own gradient: %s", async (kind, rate) => {
    const options = { ...PLAIN, rate, kind, recompute: kind === "jsd" }
    const [first, second] = await allSteps(distill(student, teacher, STORIES.slice(0, 2), options))
    const slope = rate * first!.gradientNorm! ** 2
    expect(slope).toBeGreaterThan(1e-4)
    expect((first!.loss! - second!.loss!) / slope).toBeGreaterThan(0.9)
    expect((first!.loss! - second!.loss!) / slope).toBeLessThan(1.1)
  })

  test("has nothing to learn of itself", async () => {
    const twin = await openModel(await studentFolder(), student)
    try {
      for (const kind of ["forward_kl", "reverse_kl", "jsd"] as const) {
        const [step] = await allSteps(distill(student, twin, STORIES, { ...RUN, steps: 1, evaluateEvery: 0, kind }))
        expect(Math.abs(step!.loss!)).toBeLessThan(1e-6)
        expect(step!.gradientNorm!).toBeLessThan(1e-5)
        await student.removeAdapter("tuned")
      }
    } finally {
      await twin.dispose()
    }
  })

  test("brings the student to its teacher, who stays as it was to the bit", async () => {
    const before = await teacher.logits(IDS)
    const answer = teacher.generate(IDS, { maxTokens: 4, temperature: 0, ignoreEos: true })
    for await (const _ of answer);
    const memory = teacher.memory.total
    const steps = await allSteps(distill(student, teacher, STORIES, { ...RUN, ...STRONG, steps: 20, evaluateEvery: 0 }))
    const { logits } = await logitsOf(student, rows)
    const was = mean(reference(own, other, targets, V, { kind: "forward_kl" }), targets)
    const is = mean(reference(logits, other, targets, V, { kind: "forward_kl" }), targets)
    expect(is).toBeLessThan(0.9 * was)
    expect(steps.at(-1)!.loss!).toBeLessThan(0.9 * steps[0]!.loss!)
    expect((await teacher.logits(IDS)).data).toEqual(before.data)
    expect(teacher.memory.total).toBe(memory)
    const again = teacher.generate(IDS, { maxTokens: 4, temperature: 0, ignoreEos: true })
    for await (const _ of again);
    expect(again.tokens).toEqual(answer.tokens)
  })

  test("learns to copy tokens of the data, too, when cross-entropy is mixed in", async () => {
    const heldOut = async (mix: number) => {
      const steps = await allSteps(distill(student, teacher, STORIES, { ...RUN, steps: 12, evaluateEvery: 12, mix }))
      await student.removeAdapter("tuned")
      return steps.at(-1)!.heldOut!
    }
    expect(await heldOut(0.2)).toBeLessThan((await heldOut(1)) - 0.1)
  })

  test("measures held-out rows by cross-entropy, as tune does", async () => {
    const measured = async (tuning: Tuning) => {
      for await (const { heldOut } of tuning) {
        tuning.dispose()
        await student.removeAdapter("tuned")
        return heldOut
      }
    }
    const heldOut = await measured(tune(student, STORIES, RUN))
    expect(heldOut).toBeGreaterThan(1)
    expect(await measured(distill(student, teacher, STORIES, { ...RUN, topK: 4, temperature: 3 }))).toBe(heldOut)
  })

  test("gives its memory back, and predicts it", async () => {
    const held = student.memory.total
    const options = { ...RUN, steps: 2, context: 64, topK: 16 }
    const tuning = distill(student, teacher, STORIES, options)
    const { peak } = await tuning.prepare()
    let most = 0
    for await (const { memory } of tuning) most = Math.max(most, memory)
    expect(most / peak).toBeGreaterThan(0.8)
    expect(most / peak).toBeLessThan(1.1)
    tuning.dispose()
    await student.removeAdapter("tuned")
    expect(student.memory.total).toBe(held)
    const refused = distill(student, teacher, STORIES, { ...options, memoryLimit: peak })
    await expect(refused.prepare()).rejects.toThrow(/tune: needs .* expected at most/) // the teacher holds some of it
    expect(student.memory.total).toBe(held)
  })

  test("goes on from a checkpoint to the bit, and not with another divergence or teacher", async () => {
    const settings = { ...RUN, saveEvery: 3, kind: "jsd" as const, beta: 0.3 }
    const reference = await allSteps(distill(student, teacher, STORIES, { ...settings, store: memoryStore() }))
    await student.removeAdapter("tuned")
    const store = memoryStore()
    const stopped = distill(student, teacher, STORIES, { ...settings, store })
    for await (const { step } of stopped) if (step === 4) break
    stopped.dispose()
    await student.removeAdapter("tuned")
    const resumed = { ...settings, store, resume: true }
    const rest = await allSteps(distill(student, teacher, STORIES, resumed))
    expect(rest.map(({ loss }) => loss)).toEqual(reference.slice(-3).map(({ loss }) => loss))
    await student.removeAdapter("tuned")
    const refused = (tuning: Tuning) => expect(tuning.prepare()).rejects
    await refused(distill(student, teacher, STORIES, { ...resumed, beta: 0.4 })).toThrow(/resume: objective is/)
    await refused(tune(student, STORIES, { ...RUN, saveEvery: 3, store, resume: true })).toThrow(/resume: objective/)
  })

  test("goes on when the device is lost, with student and teacher loaded again", async () => {
    const open = async (beside?: LanguageModel) => openModel(await (beside ? teacherFolder() : studentFolder()), beside)
    const first = await open()
    const settings = {
      ...RUN,
      steps: 4,
      store: memoryStore(),
      saveEvery: 2,
      reopen: () => open(),
      reopenTeacher: open,
    }
    const tuning = distill(first, await open(first), STORIES, settings)
    const steps: number[] = []
    for await (const { step } of tuning) {
      steps.push(step)
      if (step === 3 && tuning.lm === first) internals(first).model.device.gpu.destroy()
    }
    expect(steps).toEqual([0, 1, 2, 3, 3, 4])
    await tuning.lm.dispose()
  })

  test("names what cannot be", async () => {
    const refused = (options: DistillRunOptions) => expect(() => distill(student, teacher, STORIES, options))
    refused({ kind: "kl" as "jsd" }).toThrow("kind: is kl, expected one of forward_kl, reverse_kl, jsd")
    refused({ beta: 2 }).toThrow("beta is 2, expected 0 to 1")
    refused({ temperature: 0 }).toThrow("temperature is 0, expected a number above 0")
    refused({ mix: -1 }).toThrow("mix is -1, expected 0 to 1")
    refused({ topK: 257 }).toThrow("topK: is 257, expected a whole number from 1 to 256")
    refused({ topK: 4, support: "both" as "teacher" }).toThrow("support: is both, expected one of teacher, student")
    refused({ over: "tail" }).toThrow("over: is tail without topK, expected topK with it")
    refused({ topK: 4, over: "full", kind: "jsd" }).toThrow("over: is full with jsd, expected support or tail")
    refused({ context: 512 }).toThrow("context: is 512")
    refused({ reopen: async () => student }).toThrow("reopenTeacher: is missing")
    expect(() => distill(student, student, STORIES)).toThrow("teacher is the student, expected another model")
  })

  test("names teachers that cannot be: of other tokens, of fewer positions, on another device", async () => {
    const expectRefused = async (folder: Parameters<typeof openModel>[0], message: string, on = student) => {
      const lm = await openModel(folder, on === student ? student : undefined)
      try {
        const run = async () => distill(student, lm, STORIES, { ...RUN, context: 100 }).prepare()
        await expect(run()).rejects.toThrow(message)
      } finally {
        await lm.dispose()
      }
    }
    await expectRefused(await teacherFolder({ vocab_size: 4100 }), "teacher has 4100 tokens, expected 4096 as")
    await expectRefused(await withOtherToken(await teacherFolder()), "other tokens: teacher has another tokenizer")
    const short = await teacherFolder({ max_position_embeddings: 64 })
    await expectRefused(short, "context: is 100, expected at most the 64 positions of")
    await expectRefused(await teacherFolder(), "teacher is on another device, expected the student's", teacher)
    expect(student.adapters).toEqual([])
  })
})

describe("liveObjective", () => {
  const SEQUENCES = [
    { ids: [2, 5, 17, 40, 90, 8], labels: [-100, 5, 17, 40, 90, 8] },
    { ids: [2, 33, 71], labels: [-100, -100, 71] },
  ]
  const ALL = 96

  test("with all tokens among the likeliest is that over all", async () => {
    const student = await openModel(await randomCheckpoint({}, 1))
    const teacher = await openModel(await randomCheckpoint({ hidden_size: 48 }, 2), student)
    const [one, two] = [internals(student).model, internals(teacher).model]
    const trainables = [...one.parameters].map(([name, parameter]) => ({ name, parameter, decay: false }))
    /** Loss and norm of the gradient; the weights stay as they are. */
    const stepWith = async (kind: Distill["kind"], support?: Support) => {
      const divergence = { kind, beta: 0.3, temperature: 1.5, mix: 0.8, hinton: true }
      const objective = liveObjective(one, two, divergence, support, 16)
      const trainer = new Trainer(one, trainables, { optimizer: sgd({ momentum: 0 }), tokens: 16, objective })
      const { loss, gradientNorm } = await trainer.step([SEQUENCES], 0)
      trainer.dispose()
      objective.dispose()
      return [loss, gradientNorm]
    }
    for (const kind of ["forward_kl", "reverse_kl", "jsd"] as const) {
      const dense = await stepWith(kind)
      for (const support of ["teacher", "student"] as const) {
        for (const over of ["support", "tail"] as const) {
          const sparse = await stepWith(kind, { topK: ALL, support, over })
          expectClose(sparse, dense, { relative: 2e-5 }, { what: `${kind}, ${support}, ${over}` })
        }
      }
    }
    const full = await stepWith("forward_kl", { topK: ALL, support: "teacher", over: "full" })
    const dense = await stepWith("forward_kl")
    expectClose([full[1]!], [dense[1]!], { relative: 2e-5 }, { what: "gradient of the cross-entropy" })
    await teacher.dispose()
    await student.dispose()
  })
})
