import type { Random } from "../../train/random.ts"
import { below, pick } from "./draw.ts"
import { ADJECTIVES, NAMES, NOUNS } from "./words.ts"

const list = (text: string): readonly string[] => text.split(", ")

export const FORMATS = list("email, short story, blog post, tweet, poem, essay, riddle")
export const STYLES = list("formal, playful, gloomy, humorous, poetic")

/** Topics that may be asked for, and those that only fill the conversation up. */
export const TOPICS = list("penguins, trains, gardens, rivers, music, bread, winter")
export const FILLER_TOPICS = list("mountains, football, lamps, horses, letters, islands")

const OPENINGS: Readonly<Record<string, readonly string[]>> = {
  email: ["Dear #", "Hello #", "To my friend #", "Good morning #"],
  "short story": ["Once there was #", "Long ago there lived #", "Nobody had heard of #", "It all began with #"],
  "blog post": [
    "Welcome back, readers, says #",
    "This week on the blog of #",
    "Notes from the desk of #",
    "A short report by #",
  ],
  tweet: ["Just in from #", "Breaking news from #", "Thought of the day by #", "Seen today by #"],
  poem: ["O hear the song of #", "Sing softly now to #", "The evening came for #", "These lines are meant for #"],
  essay: [
    "It has been argued by #",
    "Few have written better than #",
    "We owe this question to #",
    "Consider the view of #",
  ],
  riddle: ["Who can guess this one by #", "Guess what puzzled #", "Here is a riddle for #", "Tell me, asked #"],
}

const MOODS: Readonly<Record<string, readonly string[]>> = {
  formal: ["in due course", "with great respect", "as is customary", "without exception"],
  playful: ["hop and skip", "with a giggle", "just for fun", "round and round"],
  gloomy: ["under a grey sky", "with a heavy heart", "as hope was fading", "in the cold rain"],
  humorous: ["of all things", "much to the surprise of a duck", "in the wrong hat", "while sneezing twice"],
  poetic: ["like a silver dream", "beneath the patient stars", "as soft as dusk", "where echoes sleep"],
}

const SENTENCES = [
  "the @ ~ near the @ ~ spoke of % all day, *",
  "every ~ that knew % carried a @ ~, *",
  "no @ ~ could ever forget the ~ and its %, *",
  "% and a @ ~ went from the ~ to the @ ~, *",
  "what the ~ taught us of % is kept in a @ ~, *",
  "behind the @ ~ a ~ waited for %, *",
  "so the ~ gave % to the @ ~, *",
  "because of % the @ ~ became a ~, *",
]

/** What a conversation asks to be written: the same three words ask for the same thing. */
export interface Writing {
  readonly format: string
  readonly topic: string
  readonly style: string
}

export function request({ format, topic, style }: Writing): string {
  return `Write ${withArticle(format)} about ${topic} in ${withArticle(style)} style.`
}

export function withArticle(word: string): string {
  return `${/^[aeiou]/i.test(word) ? "an" : "a"} ${word}`
}

/** A text of the kind asked for, of a grammar: `sentences` of them behind an opening. */
export function write(random: Random, { format, topic, style }: Writing, sentences: number): string {
  const opening = pick(random, OPENINGS[format]!).replace("#", pick(random, NAMES))
  const rest = Array.from({ length: sentences }, () => {
    const text = pick(random, SENTENCES)
      .replace(/\ba @/g, () => withArticle(pick(random, ADJECTIVES)))
      .replace(/@/g, () => pick(random, ADJECTIVES))
      .replace(/~/g, () => pick(random, NOUNS))
      .replace("%", topic)
      .replace("*", pick(random, MOODS[style]!))
    return `${text[0]!.toUpperCase()}${text.slice(1)}.`
  })
  return [`${opening}.`, ...rest].join(" ")
}

/** Between three and five sentences: 40 to 80 words. */
export function drawLength(random: Random): number {
  return 3 + below(random, 3)
}
