import { describe, expect, test } from "vitest"
import { memoryData } from "../../src/eval/data.ts"
import type { Instance } from "../../src/eval/task.ts"
import { TASKS } from "../../src/eval/tasks/index.ts"
import { storyteller } from "../helpers/stories.ts"
import { tokenizerOf } from "../tokenizer/fixtures.ts"
import { make, taskOf, type Wish } from "./make.ts"
import { packageData } from "./package_data.ts"

const tokenizer = storyteller()
const FITTED = TASKS.filter(({ name, defaults }) => defaults.lengths !== undefined && !name.endsWith("_file"))

function lengthOf(instance: Instance): number {
  if (instance.kind === "answer") return instance.prompt.length + instance.maxTokens
  return instance.kind === "loss" ? instance.ids.length : 0
}

describe("instances", () => {
  test.each(FITTED)("of $name have exactly the tokens asked for, in any vocabulary and format", async (task) => {
    for (const [vocabulary, lengths, format] of [
      [tokenizer, [1901], "chat"],
      [tokenizer, [2003], "text"],
      [tokenizerOf("llama"), [2048], "text"],
      [tokenizerOf("stories260K"), [5000], "text"],
    ] as const) {
      const model = { name: "any", context: 8192, tokenizer: vocabulary }
      for (const { plan, instance } of await make(task, { lengths, depths: [40], samples: 1 }, { model, format })) {
        expect(lengthOf(instance), plan.id).toBe(plan.length)
        if (instance.kind !== "answer" || format === "chat") continue
        expect(instance.prompt, plan.id).toEqual(vocabulary.encode(instance.text))
      }
    }
  })

  test.each(TASKS.filter(({ name }) => !name.endsWith("_file")))(
    "of $name depend on the seed and on nothing else",
    async (task) => {
      const wish = { ...(task.defaults.lengths && { lengths: [1800] }), depths: [0], samples: 1 }
      const [first] = await make(task, wish)
      const [again] = await make(task, { ...wish, samples: 2 })
      expect(again).toEqual(first)
      const [other] = await make(task, { ...wish, seed: 2 })
      expect(other!.plan.seed).not.toBe(first!.plan.seed)
      if (task.data.every((name) => name === "books")) expect(other!.instance.text).not.toBe(first!.instance.text)
    },
  )

  test("that do not fit are refused with both numbers", async () => {
    const small = { model: { name: "small", context: 1024, tokenizer } }
    const single = taskOf("niah_single")
    await expect(make(single, { lengths: [2048] }, small)).rejects.toThrow(
      /length is 2048, expected at most .* small, 1024/,
    )
    await expect(make(single, { lengths: [150] })).rejects.toThrow(
      /niah_single\/150\/0\/0: length is 150, expected at least \d+/,
    )
    await expect(make(taskOf("mrcr_8"), { lengths: [700] })).rejects.toThrow(/length is 700, expected at least \d+/)
    await expect(make(taskOf("mrcr_2"), { maxTokens: 8, lengths: [2048] })).rejects.toThrow(
      /maxTokens is 8, expected at least/,
    )
    const data = memoryData({ books: [{ title: "short", text: "A short book. It ends." }] })
    await expect(make(taskOf("position_loss"), { lengths: [2048] }, { data })).rejects.toThrow(
      /expected at most \d+, as many/,
    )
    await expect(
      make(single, { lengths: [2048] }, { data: memoryData({ books: [{ title: "", text: " " }] }) }),
    ).rejects.toThrow("books: number of words is 0, expected at least 1")
  })

  test("of requests that no task can serve are refused before any is made", async () => {
    const plan = (wish: Wish) => taskOf("niah_single").plan({ seed: 1, ...wish }, packageData)
    await expect(plan({ depths: [101] })).rejects.toThrow(
      "niah_single: depth is 101, expected a percentage from 0 to 100",
    )
    await expect(plan({ depths: [Number.NaN] })).rejects.toThrow("depth is NaN")
    await expect(plan({ lengths: [0.5] })).rejects.toThrow(
      "niah_single: length is 0.5, expected a whole number from 1 on",
    )
    await expect(plan({ samples: 0 })).rejects.toThrow("niah_single: samples is 0, expected a whole number from 1 on")
    await expect(make(taskOf("idk"), { maxTokens: 0, lengths: [1024] })).rejects.toThrow("idk: maxTokens is 0")
  })

  test("of a model without a tokenizer are refused", async () => {
    const model = { name: "mute", context: 4096, tokenizer: undefined }
    await expect(make(taskOf("lambada"), { samples: 1 }, { model })).rejects.toThrow(
      "eval: the tokenizer of mute is missing, expected one",
    )
  })
})
