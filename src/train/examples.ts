import type { Tokenizer } from "../tokenizer/tokenizer.ts"
import type { ChatRecord, CompletionRecord, DataRecord, TextRecord } from "./records.ts"

/** The label of a token that is not to be predicted. */
export const NO_LABEL = -100

/**
 * Tokens, and which of them are to be predicted: `labels[i]` is `ids[i]` or `NO_LABEL`. The output at position t is
 * scored on `labels[t + 1]`, so that the first label counts only where something stands before it in the same segment.
 */
export interface Example {
  readonly ids: readonly number[]
  readonly labels: readonly number[]
}

export interface ExampleOptions {
  /** The id that ends a text. */
  readonly eos: number
}

/**
 * The tokens of a record.
 *
 * - text: `<bos> text <eos>`, all to be predicted;
 * - prompt and completion: each by itself, as a prompt is when the model is asked, then `<eos>`; the prompt is not to be
 *   predicted;
 * - messages: as the checkpoint's chat template writes them; to be predicted is what the model says in its turns and the
 *   token that ends each.
 *
 * @param where what errors call the record
 */
export function exampleOf(record: DataRecord, tokenizer: Tokenizer, { eos }: ExampleOptions, where: string): Example {
  if ("messages" in record) return chatExample(record, tokenizer, where)
  return "prompt" in record ? completionExample(record, tokenizer, eos) : textExample(record, tokenizer, eos)
}

/** Whether anything of a segment is to be predicted; its first token has nothing before it. */
export function hasTarget({ labels }: Example): boolean {
  return labels.some((label, i) => i > 0 && label !== NO_LABEL)
}

function textExample({ text }: TextRecord, tokenizer: Tokenizer, eos: number): Example {
  const ids = [...tokenizer.encode(text), eos]
  return { ids, labels: ids }
}

function completionExample({ prompt, completion }: CompletionRecord, tokenizer: Tokenizer, eos: number): Example {
  const before = tokenizer.encode(prompt)
  const answer = [...tokenizer.encode(completion, { bos: false }), eos]
  return { ids: [...before, ...answer], labels: [...before.map(() => NO_LABEL), ...answer] }
}

function chatExample({ messages }: ChatRecord, tokenizer: Tokenizer, where: string): Example {
  const render = (count: number, addGenerationPrompt: boolean) =>
    named(where, () => tokenizer.chat(messages.slice(0, count), { addGenerationPrompt }).ids)
  const ids = render(messages.length, false)
  const labels = ids.map(() => NO_LABEL)
  for (const [i, { role }] of messages.entries()) {
    if (role !== "assistant") continue
    if (i === 0) throw new RangeError(`${where}: messages[0] is the model's turn, expected another before it`)
    const [start, end] = turnOf(ids, render(i, true), render(i + 1, false), tokenizer, `${where}: messages[${i}]`)
    for (let at = start; at < end; at++) labels[at] = ids[at]!
  }
  return { ids, labels }
}

/**
 * Where the model's part of a turn lies: from the end of its header to the token that ends it, both as generation sees
 * them. What a template writes behind that token (Gemma's newline) is nobody's to predict.
 *
 * @param before  the ids up to the turn, with the header that invites the model to speak
 * @param through the ids up to the end of the turn
 */
function turnOf(
  ids: readonly number[],
  before: readonly number[],
  through: readonly number[],
  tokenizer: Tokenizer,
  subject: string,
): [start: number, end: number] {
  if (!startsWith(through, before) || !startsWith(ids, through)) {
    const expected = "the same tokens whatever follows (does the template change earlier turns?)"
    throw new RangeError(`${subject} is rendered in another way as part of the whole, expected ${expected}`)
  }
  const last = through.findLastIndex((id) => tokenizer.isSpecial(id))
  return [before.length, last >= before.length ? last + 1 : through.length]
}

function startsWith(ids: readonly number[], start: readonly number[]): boolean {
  return start.length <= ids.length && start.every((id, i) => id === ids[i])
}

/** What a template refuses names the record. */
function named<T>(where: string, render: () => T): T {
  try {
    return render()
  } catch (error) {
    const Failure = error instanceof TypeError ? TypeError : error instanceof SyntaxError ? SyntaxError : RangeError
    throw new Failure(`${where}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}
