import { describe, expect, test } from "vitest"
import { respond } from "../../src/eval/respond.ts"
import type { EvalData, Instance, Plan, Task } from "../../src/eval/task.ts"
import { TASKS } from "../../src/eval/tasks/index.ts"
import { storyteller } from "../helpers/stories.ts"
import { type Knowledge, oracle } from "./oracle.ts"
import { packageData } from "./package_data.ts"

const tokenizer = storyteller()

/** Scores that answers without a model come to: of nothing, of the prompt, and the range of drawn ones. */
const FLOORS: Record<string, { empty: number; echo: [number, number]; random: [number, number] }> = {
  niah_single: { empty: 0, echo: [1, 1], random: [0, 0] },
  niah_multikey: { empty: 0, echo: [1, 1], random: [0, 0] },
  niah_multivalue: { empty: 0, echo: [1, 1], random: [0, 0] },
  niah_multiquery: { empty: 0, echo: [1, 1], random: [0, 0] },
  niah_magic: { empty: 0, echo: [1, 1], random: [0, 0] },
  variable_tracking: { empty: 0, echo: [1, 1], random: [0.1, 0.8] },
  common_words: { empty: 0, echo: [1, 1], random: [0, 0.3] },
  frequent_words: { empty: 0, echo: [1, 1], random: [0, 0.3] },
  latent_list: { empty: 0, echo: [0, 0], random: [0, 0.4] },
  idk: { empty: 0, echo: [0, 0.3], random: [0, 0.5] },
  mrcr_2: { empty: 0, echo: [0, 0.4], random: [0.3, 0.8] },
  mrcr_4: { empty: 0, echo: [0, 0.4], random: [0.05, 0.6] },
  mrcr_8: { empty: 0, echo: [0, 0.4], random: [0, 0.45] },
  blimp: { empty: 0, echo: [0, 0.6], random: [0.3, 0.7] },
  lambada: { empty: 0, echo: [0, 0.1], random: [0, 0.1] },
  fairytale_qa: { empty: 0, echo: [0, 0.2], random: [0, 0.4] },
}

/** Without files of a user's own, and those whose scores are losses. */
const ANSWERED = TASKS.filter(({ name, better }) => !name.endsWith("_file") && better === "higher")

/** Enough samples for a mean. */
async function instancesOf(task: Task): Promise<{ plan: Plan; instance: Instance }[]> {
  const samples = task.name === "blimp" ? 1 : task.name === "lambada" ? 60 : 10
  const request = { seed: 3, samples, lengths: [2048], depths: [50] }
  const context = { model: { name: "any", context: 4096, tokenizer }, data: packageData, format: undefined, request }
  const made = (await task.plan(request, packageData)).map(async (plan) => ({
    plan,
    instance: await task.make(plan, context),
  }))
  return await Promise.all(made)
}

async function knowledgeOf(data: EvalData): Promise<Knowledge> {
  const texts = (await data.read("lambada")) as { text: string }[]
  const sentences = (await data.read("blimp")) as { good: string }[]
  const tales = (await data.read("fairytaleqa")) as { questions: { question: string; answers: string[] }[] }[]
  const questions = tales.flatMap(({ questions }) => questions)
  return {
    endings: new Map(texts.map(({ text }) => [text.replace(/\s\S+$/u, ""), /\S+$/u.exec(text)![0]])),
    goodSentences: new Set(sentences.map(({ good }) => good)),
    answers: new Map(questions.map(({ question, answers }) => [question.trim(), answers[0]!])),
  }
}

describe("a model that answers from the prompt", () => {
  test.each(ANSWERED)("has everything right in $name, and answers without a model have what is known", async (task) => {
    const model = oracle(tokenizer, await knowledgeOf(packageData))
    const scores = { oracle: 0, empty: 0, echo: 0, random: 0 }
    const instances = await instancesOf(task)
    expect(instances.length).toBeGreaterThan(9)
    for (const { plan, instance } of instances) {
      const { response } = await respond(model, instance)
      const { score } = task.score(instance, response)
      if (score !== 1) expect.soft({ response, refs: "refs" in instance && instance.refs }).toBe(plan.id)
      scores.oracle += score / instances.length
      const baselines = task.baselines!(plan, instance)
      for (const name of ["empty", "echo", "random"] as const) {
        scores[name] += task.score(instance, baselines[name]).score / instances.length
      }
    }
    const { empty, echo, random } = FLOORS[task.name]!
    expect(scores.oracle).toBeCloseTo(1, 9)
    expect(scores.empty).toBe(empty)
    expectBetween(scores.echo, echo)
    expectBetween(scores.random, random)
  })
})

function expectBetween(value: number, [low, high]: readonly [number, number]): void {
  expect(value).toBeGreaterThanOrEqual(low - 1e-9)
  expect(value).toBeLessThanOrEqual(high + 1e-9)
}
