import type { Random } from "../../train/random.ts"
import { pick, pickSome, shuffled } from "./draw.ts"
import { CITIES, NAMES } from "./words.ts"

const words = (text: string): readonly string[] => text.split(" ")

/** What a story may tell of someone: how it says so, how it is asked for, and what it may be. */
const FACTS = [
  { kind: "home", tell: "lives in", ask: "Where does # live?", from: CITIES },
  {
    kind: "work",
    tell: "works as a",
    ask: "What does # work as?",
    from: words("baker teacher doctor farmer pilot painter tailor gardener sailor dentist plumber lawyer"),
  },
  {
    kind: "pet",
    tell: "has a pet, which is a",
    ask: "What pet does # have?",
    from: words("cat dog parrot rabbit hamster turtle goldfish snake lizard canary ferret pony"),
  },
  {
    kind: "food",
    tell: "likes nothing better for dinner than",
    ask: "What does # like best for dinner?",
    from: words("soup pasta rice pancakes salad dumplings potatoes curry pizza stew beans fish"),
  },
  {
    kind: "colour",
    tell: "painted the front door",
    ask: "What colour did # paint the front door?",
    from: words("red blue green yellow white black orange purple brown pink grey violet"),
  },
  {
    kind: "sport",
    tell: "spends every weekend with",
    ask: "What does # do every weekend?",
    from: words("tennis football swimming chess rowing running skiing cycling climbing fencing archery sailing"),
  },
] as const

const PEOPLE = 3
const FACTS_EACH = 3

/** Options beside the last. */
const OPTIONS = 3

/** The last of the options, always. */
export const UNKNOWN = "I don't know"

/** A few invented sentences and a question about them. */
export interface Story {
  readonly text: string
  readonly question: string
  /** (A), (B) and (C). */
  readonly options: readonly string[]
  /** `A` to `D`. */
  readonly right: string
}

type Fact = (typeof FACTS)[number]

/** Something that the story tells of someone, or does not. */
interface Told {
  readonly person: string
  readonly fact: Fact
  readonly value: string | undefined
}

/** A story, and a question that it answers or does not. What it tells of others is among the options. */
export function drawStory(random: Random, answerable: boolean): Story {
  const people = pickSome(random, NAMES, PEOPLE)
  const told = shuffled(random, drawFacts(random, people))
  const { person, fact, value } = answerable ? pick(random, told) : notTold(random, people, told)
  const others = told.flatMap((other) => (other.fact === fact && other.person !== person ? [other.value!] : []))
  const never = shuffled<string>(random, fact.from).filter((word) => word !== value && !others.includes(word))
  const wrong = [...others, ...never]
  const options = shuffled(
    random,
    value === undefined ? wrong.slice(0, OPTIONS) : [value, ...wrong.slice(0, OPTIONS - 1)],
  )
  return {
    text: told.map(({ person, fact, value }) => `${person} ${fact.tell} ${value}.`).join(" "),
    question: fact.ask.replace("#", person),
    options,
    right: value === undefined ? "D" : "ABC"[options.indexOf(value)]!,
  }
}

/** Some facts of each person; no two have the same. */
function drawFacts(random: Random, people: readonly string[]): Told[] {
  const values = new Map<Fact, string[]>(FACTS.map((fact) => [fact, shuffled<string>(random, fact.from)]))
  return people.flatMap((person) =>
    pickSome<Fact>(random, FACTS, FACTS_EACH).map((fact) => ({ person, fact, value: values.get(fact)!.pop()! })),
  )
}

/** Someone of the story, and something that it does not tell of them. */
function notTold(random: Random, people: readonly string[], told: readonly Told[]): Told {
  const person = pick(random, people)
  const known = told.flatMap((entry) => (entry.person === person ? [entry.fact] : []))
  return {
    person,
    fact: pick<Fact>(
      random,
      FACTS.filter((fact) => !known.includes(fact)),
    ),
    value: undefined,
  }
}
