import { similarity } from "./difflib.ts"

/** Characters of the random string that an answer has to begin with. */
export const MARK_LENGTH = 12

/**
 * How well a text of a conversation was repeated: difflib's ratio of the text asked for and of what follows the last occurrence of the
 * mark, 0 where the mark is missing (MRCR v2: github.com/google-deepmind/eval_hub, mrcr_v2_metric). `strict` also gives 0 for an
 * answer that has anything before the mark, as the comment in that code says and the code does not do.
 *
 * @param target the mark and the text
 */
export function mrcrScore(
  answer: string,
  target: string,
  mark = target.slice(0, MARK_LENGTH),
): { lenient: number; strict: number } {
  const text = answer.trim()
  const at = text.lastIndexOf(mark)
  if (mark === "" || at < 0) return { lenient: 0, strict: 0 }
  const wanted = target.trim().slice(mark.length).trim()
  const lenient = similarity(wanted, text.slice(at + mark.length).trim())
  return { lenient, strict: text.startsWith(mark) ? lenient : 0 }
}
