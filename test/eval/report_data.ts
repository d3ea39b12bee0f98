import type { TaskFacts } from "../../src/eval/report/aggregate.ts"
import { type ResultLine, RUN_FORMAT, RUN_VERSION, type RunFile } from "../../src/eval/results.ts"
import type { ReadRun } from "../../src/eval/run_folder.ts"
import { Random } from "../../src/train/random.ts"

export const LENGTHS = [256, 1024, 4096, 32768]
export const DEPTHS = [0, 25, 50, 75, 100]
export const SAMPLES = 5

export const TASKS: TaskFacts[] = [
  {
    name: "niah_single",
    summary: "one needle in a haystack",
    metric: "recall",
    better: "higher",
    source: "Hsieh et al. 2024, arXiv:2404.06654, section 3.1",
  },
  {
    name: "position_loss",
    summary: "loss by position in a long text",
    metric: "nats",
    better: "lower",
    source: "Gemini Team 2024, arXiv:2403.05530, section 5.2.1.1",
  },
  {
    name: "latent_list",
    summary: "what a list is after some operations",
    metric: "accuracy",
    better: "higher",
    source: "Vodrahalli et al. 2024, arXiv:2409.12640",
  },
]

export function runFile(id: string, identity: Partial<RunFile["identity"]> = {}): RunFile {
  return {
    format: RUN_FORMAT,
    version: RUN_VERSION,
    id,
    identity: {
      model: { name: "gemma-3-270m", hash: "3f9c2ab04d1e77" },
      adapters: null,
      settings: { dtype: "bf16", cacheDtype: "f32" },
      format: "chat",
      seed: 0,
      maxTokens: null,
      ...identity,
    },
    data: { essays: "9b1d0cc7a2f4" },
    tasks: TASKS.map(({ name }) => ({ name, request: { seed: 0 } })),
    gemlet: "0.1.0",
    device: "NVIDIA H200",
    started: "2026-11-21T10:00:00.000Z",
  }
}

export function resultLine(line: Partial<ResultLine> & Pick<ResultLine, "task" | "id">): ResultLine {
  const rest = { run: "a", group: "g", sample: 0, promptTokens: 200, answerTokens: 8, meta: {}, ms: 40 }
  return { ...rest, device: "NVIDIA H200", version: "0.1.0", ...line }
}

/**
 * A made-up run of three tasks: needles that are found less the longer the text and the nearer to its middle, losses that follow
 * `1.9 + 3.2 x^-0.4`, and a task without depths that chance alone decides.
 *
 * @param skill from 0 to 1, how well needles are found
 */
export function syntheticRun(name: string, skill: number, seed: number): ReadRun {
  const random = new Random(seed)
  const id = `${name}-0123456789`
  const lines = [...needles(id, skill, random), ...losses(id, skill, random), ...lists(id, random)]
  const prompts = lines.map(({ task, id, length, depth, meta }) => ({
    task,
    id,
    text: promptText(length, depth, meta),
  }))
  const adapters = name === "base" ? null : { names: ["long-recall"], hash: "77aa01bc9d" }
  return { name, run: runFile(id, { adapters }), lines, prompts, notes: [] }
}

function needles(run: string, skill: number, random: Random): ResultLine[] {
  return grid("niah_single", DEPTHS).map(({ id, length, depth, sample }) => {
    const hard = (Math.log2(length) - 8) / 7 + 0.5 * (1 - Math.abs(depth - 50) / 50)
    const found = random.uniform() < 1 - (1 - skill) * hard
    const key = `${4_812_000 + length + depth + sample}`
    return resultLine({
      ...{ run, task: "niah_single", id, length, depth, sample, meta: { key: "heron", value: key } },
      ...{ promptTokens: length - 12, score: found ? 1 : 0, refs: [key], parts: { exact: found ? 1 : 0 } },
      answer: found ? ` The special magic number for heron is ${key}.` : " I do not know of any such number.",
      baselines: { empty: 0, echo: 1, random: 0.04 },
    })
  })
}

function losses(run: string, skill: number, random: Random): ResultLine[] {
  return Array.from({ length: 12 }, (_, sample) => {
    const positions = Array.from({ length: 13 }, (_, i) => {
      const middle = 2 ** (i + 0.5)
      return {
        from: 2 ** i,
        to: 2 ** (i + 1),
        tokens: 2 ** i,
        loss: 2.9 - skill + 3.2 * middle ** -0.4 + random.normal() * 0.2,
      }
    })
    const score = positions.reduce((sum, { loss, tokens }) => sum + loss * tokens, 0) / (2 ** 13 - 1)
    const id = `position_loss/${sample}`
    return resultLine({ run, task: "position_loss", id, sample, promptTokens: 8192, answerTokens: 0, score, positions })
  })
}

function lists(run: string, random: Random): ResultLine[] {
  return grid("latent_list", [undefined]).map(({ id, length, sample }) => {
    if (length === 32768) return resultLine({ run, task: "latent_list", id, length, sample, trouble: TOO_LONG })
    const score = random.uniform() < 0.5 ? 1 : 0
    return resultLine({
      run,
      task: "latent_list",
      id,
      length,
      sample,
      score,
      answer: score ? "[3, 1]" : "[]",
      refs: ["[3, 1]"],
    })
  })
}

const TOO_LONG = "latent_list: length is 32768, expected at most 8192 (the model's context)"

function grid<D extends number | undefined>(task: string, depths: readonly D[]) {
  return LENGTHS.flatMap((length) =>
    depths.flatMap((depth) =>
      Array.from({ length: SAMPLES }, (_, sample) => {
        return { id: [task, length, depth ?? "-", sample].join("/"), length, depth, sample }
      }),
    ),
  )
}

const SENTENCE =
  "The best essays are written by people who would rather be doing something else, which is why so few are. "

function promptText(length = 64, depth = 50, meta: ResultLine["meta"]): string {
  const sentences = Array.from({ length: Math.max(4, Math.floor(length / 22)) }, () => SENTENCE)
  const needle = `One of the special magic numbers for ${meta.key} is: ${meta.value}.\n`
  sentences.splice(Math.floor((sentences.length * depth) / 100), 0, needle)
  return `Some special magic numbers are hidden within the following text.\n\n${sentences.join("")}\n\nWhat is it?`
}
