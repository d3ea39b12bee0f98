import type { EvalModel, EvalTokenizer } from "../../src/eval/task.ts"

/** What the oracle knows of texts that no prompt tells it: how they end, and which sentences are English. */
export interface Knowledge {
  /** Words that end texts, by what they end. */
  readonly endings?: ReadonlyMap<string, string>
  readonly goodSentences?: ReadonlySet<string>
  /** Answers by question. */
  readonly answers?: ReadonlyMap<string, string>
}

/** A model that reads the prompt and answers as it should: by rules of its own, which share nothing with the tasks. */
export function oracle(tokenizer: EvalTokenizer, knowledge: Knowledge = {}, context = 2 ** 20): EvalModel {
  return {
    name: "oracle",
    context,
    tokenizer,
    generate(prompt, { maxTokens }) {
      const answering = answer(tokenizer, prompt, maxTokens, knowledge)
      const generation = { text: "", tokens: [] as readonly number[] }
      return Object.assign(generation, {
        async *[Symbol.asyncIterator]() {
          Object.assign(generation, await answering)
          yield generation.text
        },
      })
    },
    async score(ids) {
      const isGood = knowledge.goodSentences?.has(await tokenizer.decode(ids)) ?? true
      return { logProbs: new Float32Array(ids.length - 1).fill(isGood ? 0 : -9) }
    },
  }
}

async function answer(tokenizer: EvalTokenizer, prompt: readonly number[], maxTokens: number, knowledge: Knowledge) {
  const text = solve(await tokenizer.decode(prompt), knowledge)
  const tokens = (await tokenizer.encode(text, { bos: false })).slice(0, maxTokens)
  return { text: await tokenizer.decode(tokens), tokens }
}

function solve(prompt: string, { endings, answers }: Knowledge): string {
  const ending = endings?.get(prompt)
  if (ending !== undefined) return ` ${ending}`
  if (/special magic (numbers?|\S+ number)/.test(prompt)) return needles(prompt)
  if (prompt.includes("assigned the value")) return variables(prompt)
  if (prompt.includes("10 most common words")) return mostFrequent(section(prompt), /[a-z]+/g, 10)
  if (prompt.includes("coded text")) return mostFrequent(section(prompt), /[a-z]{6}/g, 3)
  if (prompt.includes("program in Python")) return runPython(prompt)
  if (prompt.includes("(D) I don't know")) return choose(prompt)
  if (prompt.includes("======")) return repeat(prompt)
  return answers?.get(/Question: (.*)/.exec(prompt)![1]!.trim()) ?? ""
}

function needles(prompt: string): string {
  const city = /What is the special magic (\S+) number\?/.exec(prompt)?.[1]
  if (city) return new RegExp(`The special magic ${city} number is: (\\d+)\\.`).exec(prompt)![1]!
  const asked = /special magic numbers? for (.*) mentioned in the provided text\?/.exec(prompt)![1]!
  const keys = asked.split(/, and |, /)
  const found = [...prompt.matchAll(/One of the special magic numbers for (\S+) is: (\d+)\./g)]
  return found.flatMap(([, key, value]) => (keys.includes(key!) ? [value] : [])).join(", ")
}

function variables(prompt: string): string {
  const value = [...prompt.matchAll(/assigned the value (\d+) in the text above/g)].at(-1)![1]!
  const holds = new Map<string, string>()
  for (const [, name, from] of prompt.matchAll(/VAR ([A-Z]{5}) = (?:VAR )?(\w+)\./g)) {
    holds.set(name!, holds.get(from!) ?? from!)
  }
  return [...holds].flatMap(([name, held]) => (held === value ? [name] : [])).join(" ")
}

/** What lies between the last two empty lines before the question. */
function section(prompt: string): string {
  const parts = prompt.split("\n\n")
  return parts[parts.findLastIndex((part) => part.startsWith("Question:")) - 1]!
}

function mostFrequent(text: string, pattern: RegExp, count: number): string {
  const counts = new Map<string, number>()
  for (const [word] of text.matchAll(pattern)) counts.set(word, (counts.get(word) ?? 0) + 1)
  const order = [...counts].sort((a, b) => b[1] - a[1]).map(([word]) => word)
  return order.slice(0, count).join(" ")
}

/** What the last line of a Python program over a list `a` prints. */
export function runPython(prompt: string): string {
  let a: number[] = []
  let last = ""
  for (const line of prompt.split("\n")) {
    const [, method, list = ""] = /^a\.(\w+)\((.*)\)$/.exec(line) ?? []
    const args = list.split(", ").map(Number)
    if (line.startsWith("a = ")) a = JSON.parse(line.slice(4))
    else if (method === "append") a = [...a, args[0]!]
    else if (method === "insert") a = [...a.slice(0, args[0]), args[1]!, ...a.slice(args[0])]
    else if (method === "pop") a = a.filter((_, i) => i !== args[0])
    else if (method === "remove") a = a.filter((_, i) => i !== a.indexOf(args[0]!))
    else if (method === "sort") a = Array.from(Int32Array.from(a).sort())
    else if (method === "reverse") a = a.map((_, i) => a[a.length - 1 - i]!)
    else if (line.startsWith("print(")) last = view(a, line)
  }
  return last
}

function view(a: readonly number[], line: string): string {
  if (line === 'print("Do nothing.")') return ""
  if (line === "print(len(a))") return String(a.length)
  const [, of, from, to] = /^print\((\w*)\(?a\[(\d+):(\d+)\]\)+$/.exec(line)!
  const slice = a.slice(Number(from), Number(to))
  if (of === "") return `[${slice.join(", ")}]`
  if (of === "sum") return String(slice.reduce((x, y) => x + y))
  return String(slice.reduce((x, y) => (of === "min" ? Math.min(x, y) : Math.max(x, y))))
}

const TELLS: readonly [question: RegExp, tells: string][] = [
  [/Where does (\w+) live/, "lives in"],
  [/What does (\w+) work as/, "works as a"],
  [/What pet does (\w+) have/, "has a pet, which is a"],
  [/What does (\w+) like best/, "likes nothing better for dinner than"],
  [/What colour did (\w+) paint/, "painted the front door"],
  [/What does (\w+) do every/, "spends every weekend with"],
]

function choose(prompt: string): string {
  const question = /Question: (.*)/.exec(prompt)![1]!
  const [pattern, tells] = TELLS.find(([pattern]) => pattern.test(question))!
  const value = new RegExp(`${pattern.exec(question)![1]} ${tells} (\\w+)\\.`).exec(prompt)?.[1]
  const letter = value && new RegExp(`\\(([ABC])\\) ${value}\\n`).exec(prompt)?.[1]
  return `${letter ?? "D"})`
}

function repeat(prompt: string): string {
  const [, mark, ordinal, format, topic, style] =
    /Prepend (\w{12}) to the (\w+) (.+) about (\w+) in an? (\w+) style/.exec(prompt)!
  const wanted = new RegExp(
    `^User: Write an? ${format} about ${topic} in an? ${style} style\\.\nAssistant: (.*)$`,
    "gm",
  )
  const texts = [...prompt.matchAll(wanted)].map(([, text]) => text!)
  const nth = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"].indexOf(ordinal!)
  return `${mark} ${texts[nth]}`
}
