import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { pathFolder } from "../../src/platform/node_files.ts"
import { createTokenizer, type Tokenizer } from "../../src/tokenizer/tokenizer.ts"

const WORDS = "Lily Tom dog cat river found a big red ball and was happy because the little bird sang to mom".split(" ")

/** Storyteller, as a folder. */
export const STORYTELLER = pathFolder(fileURLToPath(new URL("../../weights/storyteller", import.meta.url)))

/** Texts that are all alike: a few steps are enough to learn something of them. */
export const STORIES = Array.from({ length: 24 }, (_, i) => ({
  text: `Once there was a ${["cat", "dog", "bird", "fox"][i % 4]} who liked to ${["run", "sing", "sleep"][i % 3]}. The end.`,
}))

/** Short texts, all different, of 3 to 42 words. */
export function stories(count: number): { text: string }[] {
  return Array.from({ length: count }, (_, i) => {
    const words = Array.from({ length: 3 + ((i * 17) % 40) }, (_, j) => WORDS[(i * 7 + j * j + j) % WORDS.length])
    return { text: `${i}. ${words.join(" ")}.` }
  })
}

/** Storyteller's tokenizer: BOS 2, EOS 1, end of turn 6. `template` is in place of its own; null for none. */
export function storyteller(template?: string | null): Tokenizer {
  const read = (file: string) =>
    JSON.parse(readFileSync(new URL(`../../weights/storyteller/${file}`, import.meta.url), "utf8"))
  const tokenizerConfig = read("tokenizer_config.json")
  if (template !== undefined) tokenizerConfig.chat_template = template
  return createTokenizer({ tokenizerJson: read("tokenizer.json"), tokenizerConfig })
}
