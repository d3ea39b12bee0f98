import { Random, seedFor } from "../../train/random.ts"
import { below, pick, shuffled } from "./draw.ts"
import { drawLength, FILLER_TOPICS, FORMATS, request, STYLES, TOPICS, type Writing, write } from "./writing.ts"

/** Something asked for and written; several of the same key are the needles. */
export interface Exchange {
  readonly writing: Writing
  readonly text: string
  /** Where in the conversation, in [0, 1). */
  readonly place: number
}

/** The needles of a conversation: of each key, its texts in the order in which they come. */
export interface Needles {
  readonly keys: readonly { readonly writing: Writing; readonly exchanges: readonly Exchange[] }[]
}

const WORDS_OF_FILLER = 60

/** `keys` things to be written `needles` times each, all texts different, spread over the conversation. */
export function drawNeedles(seed: number, keys: number, needles: number): Needles {
  const random = new Random(seed)
  const writings = shuffled(random, combinations(TOPICS)).slice(0, keys)
  const used = new Set<string>()
  const drawn = writings.map((writing) => {
    const places = Array.from({ length: needles }, () => random.uniform()).sort((a, b) => a - b)
    const exchanges = places.map((place) => ({ writing, place, text: newText(random, writing, used) }))
    return { writing, exchanges }
  })
  return { keys: drawn }
}

/** Other exchanges, of `words` words of text together; the last is cut to that. The first of them are the same for any number of words. */
export function fillers(seed: number, words: number): Exchange[] {
  const all = combinations(FILLER_TOPICS)
  const exchanges: Exchange[] = []
  for (let left = words, i = 0; left > 0; i++) {
    const random = new Random(seedFor(seed, `filler ${i}`))
    const writing = pick(random, all)
    const place = random.uniform()
    const text = write(random, writing, drawLength(random)).split(" ").slice(0, Math.min(left, WORDS_OF_FILLER))
    exchanges.push({ writing, place, text: text.join(" ") })
    left -= text.length
  }
  return exchanges
}

/** The conversation as text, in the order of places. */
export function transcript({ keys }: Needles, fillers: readonly Exchange[]): string {
  const all = [...keys.flatMap(({ exchanges }) => exchanges), ...fillers].sort((a, b) => a.place - b.place)
  return all.map(({ writing, text }) => `User: ${request(writing)}\nAssistant: ${text}`).join("\n\n")
}

function newText(random: Random, writing: Writing, used: Set<string>): string {
  for (;;) {
    const text = write(random, writing, drawLength(random))
    if (used.has(text)) continue
    used.add(text)
    return text
  }
}

function combinations(topics: readonly string[]): Writing[] {
  return FORMATS.flatMap((format) => topics.flatMap((topic) => STYLES.map((style) => ({ format, topic, style }))))
}

/** A key of a conversation, and which of its texts. */
export function drawQuestion({ keys }: Needles, random: Random): { writing: Writing; ordinal: number; text: string } {
  const { writing, exchanges } = pick(random, keys)
  const ordinal = below(random, exchanges.length)
  return { writing, ordinal, text: exchanges[ordinal]!.text }
}
