import { describe, expect, test } from "vitest"
import { type EvaluateOptions, evaluate, type Wanted } from "../../src/eval/evaluate.ts"
import { type EvalFolder, memoryEvalFolder } from "../../src/eval/folder.ts"
import { mergeRuns } from "../../src/eval/merge.ts"
import type { ResultLine } from "../../src/eval/results.ts"
import { readRun } from "../../src/eval/run_folder.ts"
import type { EvalModel } from "../../src/eval/task.ts"
import { OPTIONS, shout, shoutingModel } from "./fakes.ts"

const WANTED: readonly Wanted[] = [{ task: shout }]

async function run(options: Partial<EvaluateOptions> = {}, model: EvalModel = shoutingModel(), wanted = WANTED) {
  const lines: ResultLine[] = []
  for await (const { line } of evaluate(model, wanted, { ...OPTIONS, ...options })) lines.push(line)
  return lines
}

/** What a result says, whatever it took. */
function said(lines: readonly ResultLine[]) {
  return lines
    .map(({ id, score, answer, trouble }) => ({ id, score, answer, trouble }))
    .sort((a, b) => (a.id < b.id ? -1 : 1))
}

describe("a run", () => {
  test("gives a result for each place, with what it was and what it took", async () => {
    const model = shoutingModel()
    const lines = await run({ folder: memoryEvalFolder() }, model)
    expect(lines).toHaveLength(8)
    expect(lines.map(({ score }) => score).sort()).toEqual([0, 0, 0, 0, 1, 1, 1, 1])
    const [first] = lines
    expect(first).toMatchObject({
      task: "shout",
      id: "16/0/0",
      length: 16,
      depth: 0,
      sample: 0,
      promptTokens: 13,
      answerTokens: 3,
      answer: "ABC",
      refs: ["abc"],
      score: 0,
      parts: { letters: 3 },
      baselines: { empty: 0, echo: 1, random: 0 },
      prefillTokens: 13,
      reusedTokens: 0,
      meta: { word: "abc" },
      device: "a test's",
    })
    expect(first!.version).toMatch(/^\d+\.\d+\.\d+$/)
  })

  test("does those that begin alike one after another", async () => {
    const groups = (await run()).map(({ group }) => group)
    expect(groups).toEqual(["16/0", "16/0", "16/1", "16/1", "32/0", "32/0", "32/1", "32/1"])
  })

  test("gives the same with several answers at once", async () => {
    expect(said(await run({ parallel: 3 }))).toEqual(said(await run()))
  })

  test("tells how far it is", async () => {
    const steps: { done: number; of: number; secondsLeft: number | undefined }[] = []
    for await (const { done, of, secondsLeft } of evaluate(shoutingModel(), WANTED, OPTIONS)) {
      steps.push({ done, of, secondsLeft })
    }
    expect(steps.map(({ done }) => done)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(steps.every(({ of }) => of === 8)).toBe(true)
    expect(steps.at(-1)!.secondsLeft).toBe(0)
  })

  test("leaves out default lengths that the model cannot do, and refuses those that were asked for", async () => {
    expect(await run({}, shoutingModel(20))).toHaveLength(4)
    const asked = [{ task: shout, request: { lengths: [64] } }]
    await expect(run({}, shoutingModel(20), asked)).rejects.toThrow(/length is 64, expected at most 20/)
  })

  test("tells of what does not fit, and does the rest", async () => {
    const folder = memoryEvalFolder()
    const asked = [{ task: shout, request: { lengths: [8, 16], depths: [0], samples: 1 } }]
    const lines = await run({ folder }, shoutingModel(), asked)
    expect(said(lines)).toEqual([
      { id: "16/0/0", score: 0, answer: "ABC", trouble: undefined },
      { id: "8/0/0", score: undefined, answer: undefined, trouble: "shout: length is 8, expected at least 10" },
    ])
    expect(await run({ folder }, shoutingModel(), asked)).toEqual([]) // it would be as wrong again
  })

  test("of one shard and the others is the whole run", async () => {
    const parts = await Promise.all([1, 2, 3].map((index) => run({ shard: { index, of: 3 } })))
    expect(said(parts.flat())).toEqual(said(await run()))
    for (const group of new Set(parts.flat().map((line) => line.group))) {
      expect(parts.filter((part) => part.some((line) => line.group === group))).toHaveLength(1)
    }
    await expect(run({ shard: { index: 4, of: 3 } })).rejects.toThrow("shard: is 4/3, expected i/n with i from 1 to n")
  })

  test("that fails in the model fails, and keeps what there was", async () => {
    const model = shoutingModel()
    const own = model.generate
    const failing: EvalModel = {
      ...model,
      generate: (prompt, options) => {
        if (model.asked.length >= 3) throw new Error("the device is gone")
        return own(prompt, options)
      },
    }
    const folder = memoryEvalFolder()
    await expect(run({ folder }, failing)).rejects.toThrow("the device is gone")
    expect((await readRun(folder)).lines).toHaveLength(3)
    await run({ folder })
    expect(said((await readRun(folder)).lines)).toEqual(said(await run()))
  })
})

/** Stops a run after so many results, as Ctrl-C does. */
async function stopAfter(count: number, folder: EvalFolder): Promise<void> {
  const controller = new AbortController()
  let done = 0
  const { signal } = controller
  await expect(async () => {
    for await (const _ of evaluate(shoutingModel(), WANTED, { ...OPTIONS, folder, signal })) {
      if (++done === count) controller.abort()
    }
  }).rejects.toThrow(/abort/)
}

describe("a run that was stopped", () => {
  test("goes on where it was, and ends with the same results", async () => {
    const folder = memoryEvalFolder()
    await stopAfter(3, folder)
    const model = shoutingModel()
    const rest = await run({ folder }, model)
    expect(rest).toHaveLength(5)
    expect(model.asked).toHaveLength(5)
    expect(said((await readRun(folder)).lines)).toEqual(said(await run()))
  })

  test("in the middle of a line does that instance again, and keeps what there is of it", async () => {
    const folder = memoryEvalFolder()
    await stopAfter(3, folder)
    const whole = folder.files.get("results.jsonl")!
    folder.files.set("results.jsonl", whole.slice(0, -20))
    folder.files.set("prompts.jsonl", folder.files.get("prompts.jsonl")!.slice(0, -5))
    const notes: string[] = []
    expect(await run({ folder, onNote: (note) => notes.push(note) })).toHaveLength(6)
    expect(notes).toEqual([expect.stringMatching(/results\.jsonl:3: line is cut.*done again/)])
    expect(folder.files.get("damaged.jsonl")).toBe(`${whole.split("\n")[2]!.slice(0, -19)}\n`)
    const read = await readRun(folder)
    expect(said(read.lines)).toEqual(said(await run()))
    expect(read.prompts.map(({ id }) => id).sort()).toEqual(read.lines.map(({ id }) => id).sort())
  })

  test.each([
    ["no JSON", "{{{", /results\.jsonl:2: line is no JSON/],
    ["a field of another kind", '{"run":1}', /results\.jsonl:2: run is 1, expected a string/],
  ])("with a damaged line in the middle (%s) loses no other", async (_, line, message) => {
    const folder = memoryEvalFolder()
    await stopAfter(3, folder)
    const lines = folder.files.get("results.jsonl")!.split("\n")
    folder.files.set("results.jsonl", [lines[0], line, ...lines.slice(2)].join("\n"))
    const notes: string[] = []
    await run({ folder, onNote: (note) => notes.push(note) })
    expect(notes).toEqual([expect.stringMatching(message)])
    expect(folder.files.get("damaged.jsonl")).toBe(`${line}\n`)
    expect(said((await readRun(folder)).lines)).toEqual(said(await run()))
  })

  test("takes further tasks and lengths, as they are of the same run", async () => {
    const folder = memoryEvalFolder()
    await run({ folder }, shoutingModel(), [{ task: shout, request: { lengths: [16] } }])
    expect(await run({ folder })).toHaveLength(4)
    expect((await readRun(folder)).run.tasks).toHaveLength(2)
  })

  test.each([
    ["model", { of: { ...OPTIONS.of, model: { name: "shouting", hash: "2" } } }, 'model.hash is "2", expected "1"'],
    ["settings", { of: { ...OPTIONS.of, settings: { dtype: "q4" } } }, 'settings.dtype is "q4", expected "stored"'],
    ["seed", { seed: 1 }, "seed is 1, expected 0"],
    ["format", { format: "chat" as const }, 'format is "chat", expected "auto"'],
  ])("refuses another %s, and names it", async (_, options, message) => {
    const folder = memoryEvalFolder()
    await stopAfter(2, folder)
    const before = new Map(folder.files)
    await expect(run({ folder, ...options })).rejects.toThrow(message)
    expect(folder.files).toEqual(before)
  })

  test("refuses other data", async () => {
    const folder = memoryEvalFolder()
    await stopAfter(2, folder)
    const data = { ...OPTIONS.data, fingerprint: async () => "another" }
    await expect(run({ folder, data })).rejects.toThrow(/data words has hash another, expected hash of words/)
  })

  test("is the same when the model is only called otherwise", async () => {
    const folder = memoryEvalFolder()
    await stopAfter(2, folder)
    const of = { ...OPTIONS.of, model: { name: "elsewhere/shouting", hash: "1" } }
    expect(await run({ folder, of })).toHaveLength(6)
  })

  test("lets nobody else write beside it", async () => {
    const folder = memoryEvalFolder()
    const first = evaluate(shoutingModel(), WANTED, { ...OPTIONS, folder })
    await first.next()
    await expect(run({ folder })).rejects.toThrow(/results\.jsonl is being written by another run here/)
    expect(await run({ folder, shard: { index: 1, of: 2 } })).toHaveLength(4) // has files of its own
    await first.return(undefined as never)
    await run({ folder })
  })
})

describe("merging", () => {
  test("puts shards together as if they had been one run", async () => {
    const folders = ["a", "b"].map((name) => memoryEvalFolder(name))
    for (const [i, folder] of folders.entries()) await run({ folder, shard: { index: i + 1, of: 2 } })
    const out = memoryEvalFolder("out")
    const { results } = await mergeRuns(folders, out)
    expect(results).toBe(8)
    expect([...out.files.keys()].sort()).toEqual(["prompts.jsonl", "results.jsonl", "run.json"])
    expect(said((await readRun(out)).lines)).toEqual(said(await run()))
    await expect(mergeRuns(folders, out)).rejects.toThrow(/out: \S+ is there already/)
  })

  test("takes what is twice and the same once, and refuses what contradicts", async () => {
    const [a, b] = [memoryEvalFolder("a"), memoryEvalFolder("b")]
    await run({ folder: a })
    await run({ folder: b })
    expect((await mergeRuns([a, b], memoryEvalFolder())).results).toBe(8)
    b.files.set("results.jsonl", b.files.get("results.jsonl")!.replace('"score":0', '"score":0.5'))
    const out = memoryEvalFolder("out")
    await expect(mergeRuns([a, b], out)).rejects.toThrow("merge: score of 16/0/0 is 0.5 in b, expected 0 as in a")
    expect(out.files.size).toBe(0)
  })

  test("refuses other runs, and folders that have none", async () => {
    const [a, b] = [memoryEvalFolder("a"), memoryEvalFolder("b")]
    await run({ folder: a })
    await run({ folder: b, seed: 7 })
    await expect(mergeRuns([a, b], memoryEvalFolder())).rejects.toThrow(/seed is 7, expected 0/)
    await expect(readRun(memoryEvalFolder("empty"))).rejects.toThrow("empty: run.json is missing")
    a.files.set("run.json", "{")
    await expect(readRun(a)).rejects.toThrow("a/run.json: file is no JSON")
  })
})
