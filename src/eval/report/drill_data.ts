import type { ResultLine } from "../results.ts"
import { keyOf, type ReadRun } from "../run_folder.ts"

/** How much of the prompts a report carries: all, those that are too long without their middles, or none. */
export type PromptDetail = "all" | "elided" | "none"

export const PROMPT_DETAILS: readonly PromptDetail[] = ["all", "elided", "none"]

/** A prompt, and what of it is shown at first. */
export interface ShownPrompt {
  /** Of the whole, in UTF-16 units as all here. */
  readonly length: number
  /** Parts `[from, to)` that are shown at first: the beginning, the end, and where something is that was looked for. */
  readonly shown: readonly (readonly [from: number, to: number])[]
  /** The whole of it; left out where it is too long. */
  readonly text?: string
  /** In its place the parts that are shown. */
  readonly parts?: readonly string[]
}

/** What came out of an instance in one run. */
type Outcome = Pick<
  ResultLine,
  "score" | "parts" | "baselines" | "answer" | "refs" | "meta" | "promptTokens" | "answerTokens" | "ms" | "trouble"
> & {
  /** Which of the prompts it was. */
  readonly prompt?: number
}

/** An instance in all runs. */
interface DrillInstance {
  readonly task: string
  readonly id: string
  readonly length?: number
  readonly depth?: number
  readonly sample: number
  /** A run that does not have it has null. */
  readonly runs: readonly (Outcome | null)[]
}

/** All that is behind the numbers of a report. */
export interface DrillData {
  readonly instances: readonly DrillInstance[]
  readonly prompts: readonly ShownPrompt[]
  /** Prompts that are not there as a whole. */
  readonly elided: number
  /** Instances whose prompt is another one in another run. */
  readonly differing: number
}

/** Characters up to which a prompt is shown as it is, and up to which it is carried as a whole in any case. */
const SHOWN = 4000
export const CARRIED = 32_000
/** Characters of a long prompt's ends that are shown, and around what was looked for. */
const END = 1200
const AROUND = 300
/** Places of what was looked for that are shown. */
const PLACES = 8

/** Brings the runs' instances together with their prompts; runs that were given the same prompt share it. */
export function drillData(runs: readonly ReadRun[], detail: PromptDetail): DrillData {
  const instances = new Map<string, Omit<DrillInstance, "runs"> & { runs: (Outcome | null)[] }>()
  const prompts = new Map<string, ShownPrompt & { readonly at: number }>()
  for (const [i, { lines, prompts: own }] of runs.entries()) {
    const texts = new Map(detail === "none" ? [] : own.map((prompt) => [keyOf(prompt), prompt.text]))
    for (const line of lines) {
      const { task, id, length, depth, sample } = line
      const key = keyOf(line)
      if (!instances.has(key)) instances.set(key, { task, id, length, depth, sample, runs: runs.map(() => null) })
      const text = texts.get(key)
      if (text !== undefined && !prompts.has(text)) {
        prompts.set(text, { at: prompts.size, ...shownPrompt(text, line.refs ?? [], detail) })
      }
      instances.get(key)!.runs[i] = outcome(line, text === undefined ? undefined : prompts.get(text)!.at)
    }
  }
  const all = [...instances.values()]
  const shown = [...prompts.values()].map(({ at: _, ...prompt }) => prompt)
  const given = (runs: readonly (Outcome | null)[]) => new Set(runs.flatMap((run) => run?.prompt ?? []))
  return {
    instances: all,
    prompts: shown,
    elided: shown.filter(({ text }) => text === undefined).length,
    differing: all.filter(({ runs }) => given(runs).size > 1).length,
  }
}

function outcome(line: ResultLine, prompt: number | undefined): Outcome {
  const { score, parts, baselines, answer, refs, meta, promptTokens, answerTokens, ms, trouble } = line
  return { score, parts, baselines, answer, refs, meta, promptTokens, answerTokens, ms, trouble, prompt }
}

/** What a report carries of a prompt. */
export function shownPrompt(text: string, refs: readonly string[], detail: PromptDetail): ShownPrompt {
  const { length } = text
  if (length <= SHOWN) return { length, shown: [[0, length]], text }
  const shown = joined([[0, END], ...placesOf(text, refs), [length - END, length]])
  if (detail === "all" || length <= CARRIED) return { length, shown, text }
  return { length, shown, parts: shown.map(([from, to]) => text.slice(from, to)) }
}

/** The surroundings of what was looked for, the first few. */
function placesOf(text: string, refs: readonly string[]): [number, number][] {
  const places: [number, number][] = []
  for (const ref of refs) {
    if (ref === "") continue
    for (let at = text.indexOf(ref); at >= 0 && places.length < PLACES; at = text.indexOf(ref, at + ref.length)) {
      places.push([Math.max(0, at - AROUND), Math.min(text.length, at + Math.min(ref.length, END) + AROUND)])
    }
  }
  return places
}

/** Spans in order, those that touch as one. */
function joined(spans: readonly (readonly [number, number])[]): [number, number][] {
  const all: [number, number][] = []
  for (const [from, to] of [...spans].sort(([a], [b]) => a - b)) {
    const last = all.at(-1)
    if (last && from <= last[1]) last[1] = Math.max(last[1], to)
    else all.push([from, to])
  }
  return all
}
