import type { EvaluateOptions } from "../../src/eval/evaluate.ts"
import type { EvalData, EvalModel, Plan, Task } from "../../src/eval/task.ts"

/** Ids are code points; answers with the last three characters of the prompt, each in upper case. */
export function shoutingModel(context = 4096): EvalModel & { readonly asked: string[] } {
  const asked: string[] = []
  const decode = (ids: readonly number[]) => String.fromCodePoint(...ids)
  return {
    name: "shouting",
    context,
    asked,
    tokenizer: {
      bos: undefined,
      hasChatTemplate: false,
      encode: (text) => [...text].map((c) => c.codePointAt(0)!),
      decode,
      chat: () => ({ ids: [] }),
    },
    generate(prompt) {
      asked.push(decode(prompt))
      const text = decode(prompt.slice(-3)).toUpperCase()
      return {
        text,
        tokens: [...text].map((c) => c.codePointAt(0)!),
        timings: { prefillTokens: prompt.length, reusedTokens: 0 },
        async *[Symbol.asyncIterator]() {
          yield text
        },
      }
    },
    async score(ids) {
      return { logProbs: Float32Array.from({ length: ids.length - 1 }, (_, i) => -(i + 1)) }
    },
  }
}

/** Asks to shout a word; every other word is right already. A length below 10 is too small. */
export const shout: Task = {
  name: "shout",
  summary: "words to shout",
  metric: "accuracy",
  better: "higher",
  source: "",
  data: ["words"],
  defaults: { lengths: [16, 32], depths: [0, 50], samples: 2 },
  async plan({ lengths = [], depths = [], samples = 1, seed }) {
    const plans: Plan[] = []
    for (const length of lengths) {
      for (const depth of depths) {
        for (let sample = 0; sample < samples; sample++) {
          plans.push({ id: `${length}/${depth}/${sample}`, length, depth, sample, seed, group: `${length}/${sample}` })
        }
      }
    }
    return plans
  },
  async make({ length, depth, sample }, { model }) {
    if (length! < 10) throw new RangeError(`shout: length is ${length}, expected at least 10`)
    const word = sample % 2 === 0 ? "abc" : "ABC"
    const text = `${`${depth} `.padStart(length! - 6, ".")}${word}`
    return {
      kind: "answer",
      prompt: await model.tokenizer!.encode(text),
      maxTokens: 3,
      stop: [],
      refs: [word],
      text,
      meta: { word },
    }
  },
  score(instance, response) {
    if (instance.kind !== "answer" || response.kind !== "answer") throw new TypeError("shout: expected an answer")
    return { score: response.text === instance.refs[0] ? 1 : 0, parts: { letters: response.text.length } }
  },
  baselines: () => ({
    empty: { kind: "answer", text: "" },
    echo: { kind: "answer", text: "abc" },
    random: { kind: "answer", text: "ABC" },
  }),
}

export const words: EvalData = { read: async () => ["abc"], fingerprint: async (name) => `hash of ${name}` }

export const OPTIONS = {
  data: words,
  of: { model: { name: "shouting", hash: "1" }, adapters: null, settings: { dtype: "stored" }, device: "a test's" },
} satisfies EvaluateOptions
