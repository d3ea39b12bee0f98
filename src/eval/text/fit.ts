import type { MakeContext, Plan } from "../task.ts"
import { encodePrompt, type Prompt, type PromptText } from "./prompt.ts"

/** A prompt of any size: `size` counts what it is filled up with, `pad` stands behind that and means nothing. */
export type Build = (size: number, pad: string) => PromptText

export interface Fitted extends Prompt {
  readonly size: number
  readonly pad: string
}

/** What a gap is filled with, repeated: most are one token in most vocabularies. */
const PADS = [" .", " -", "\n", ".", " a", " 1", "x", " ~"]

/** A gap of so many tokens is left to the padding. */
const SMALL_GAP = 6

/** A gap of so many tokens is not padded: there is too little to fill the prompt with. */
const LARGEST_GAP = 64

/** Sizes below the largest that are tried if no padding meets the length of that one. */
const SIZES_TRIED = 4

/**
 * The longest prompt that with the answer's tokens has exactly `plan.length` tokens.
 *
 * @param most the largest size there is
 * @throws {RangeError} if the smallest prompt is too long, the largest too short, or the length is beyond the model's context
 */
export async function fitLength(
  plan: Plan,
  context: MakeContext,
  maxTokens: number,
  most: number,
  build: Build,
): Promise<Fitted> {
  const length = expectLength(plan, context)
  const target = length - maxTokens
  const count = async (size: number) => (await encodePrompt(context, build(size, ""))).ids.length
  const smallest = await count(0)
  if (smallest > target) {
    throw new RangeError(`${plan.id}: length is ${length}, expected at least ${smallest + maxTokens}`)
  }
  const { size, tokens } = await largestSize(target, smallest, most, count)
  if (size === most && target - tokens > LARGEST_GAP) {
    throw new RangeError(
      `${plan.id}: length is ${length}, expected at most ${tokens + maxTokens}: there is no more text`,
    )
  }
  return await fitSize(plan, context, maxTokens, size, build)
}

/** As {@link fitLength}, with a size that is known to leave no more than a gap to be padded. */
export async function fitSize(
  plan: Plan,
  context: MakeContext,
  maxTokens: number,
  size: number,
  build: Build,
): Promise<Fitted> {
  const length = expectLength(plan, context)
  for (let now = size; now >= Math.max(0, size - SIZES_TRIED); now--) {
    const fitted = await padded(length - maxTokens, (pad) => encodePrompt(context, build(now, pad)))
    if (fitted) return { ...fitted, size: now }
  }
  throw new RangeError(`${plan.id}: length is ${length}, expected one that this tokenizer can meet exactly`)
}

/** @throws {RangeError} if a plan has no length, or one beyond the model's context */
export function expectLength({ id, length }: Plan, { model }: MakeContext): number {
  if (length === undefined) throw new RangeError(`${id}: length is missing, expected a number of tokens`)
  if (length <= model.context) return length
  throw new RangeError(`${id}: length is ${length}, expected at most the context of ${model.name}, ${model.context}`)
}

/** The size that is measured first, to learn how many tokens a unit has. */
const PROBE = 64

/**
 * A size whose prompt is at most `target` tokens, and by less than what one more adds, or by a small gap. Tokens are nearly in proportion
 * to the size, so that the next size to try is where the line through the last two meets the target.
 */
async function largestSize(
  target: number,
  smallest: number,
  most: number,
  count: (size: number) => Promise<number>,
): Promise<{ size: number; tokens: number }> {
  let low = { size: 0, tokens: smallest }
  let tooLarge = most + 1
  let next = PROBE
  while (target - low.tokens > SMALL_GAP && tooLarge - low.size > 1) {
    const size = Math.min(Math.max(next, low.size + 1), tooLarge - 1)
    const tokens = await count(size)
    const rate = Math.max((tokens - low.tokens) / (size - low.size), 1e-3)
    if (tokens <= target) low = { size, tokens }
    else tooLarge = size
    next = low.size + Math.floor((target - low.tokens) / rate)
  }
  return low
}

/** The prompt with so much padding that it has `target` tokens, if any padding does that. */
async function padded(
  target: number,
  measure: (pad: string) => Promise<Prompt>,
): Promise<Omit<Fitted, "size"> | undefined> {
  const plain = await measure("")
  const gap = target - plain.ids.length
  if (gap === 0) return { ...plain, pad: "" }
  for (const unit of PADS) {
    const tried = new Set([0])
    for (let times = gap; times > 0 && !tried.has(times); ) {
      tried.add(times)
      const pad = unit.repeat(times)
      const prompt = await measure(pad)
      if (prompt.ids.length === target) return { ...prompt, pad }
      times += target - prompt.ids.length
    }
  }
  return undefined
}
