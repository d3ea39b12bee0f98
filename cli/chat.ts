import { createInterface } from "node:readline"
import type { Command } from "commander"
import { type Generation, GpuError, type LanguageModel, type Message } from "../src/index.ts"
import { readMessages, visibleMessages, writeMessages } from "./conversation.ts"
import { addDraftOptions, checkDraft, type DraftFlags, draftOptions, loadDraft } from "./draft.ts"
import { describeError, EXIT, isAbort } from "./errors.ts"
import { interruptible } from "./interrupt.ts"
import { type LoadedModel, loadModel } from "./model.ts"
import {
  addJsonOption,
  addModelOptions,
  addPrefixCacheOption,
  addSamplingOptions,
  generationOptions,
  type ModelFlags,
  type SamplingFlags,
} from "./options.ts"
import { answerJson, note, printAnswer, printJson, statLine } from "./output.ts"

interface Flags extends ModelFlags, SamplingFlags, DraftFlags {
  readonly system?: string
  readonly messages?: string
  readonly stats?: boolean
}

const EXAMPLES = `
In the conversation:
  /help  /reset  /save FILE  /load FILE  /quit
  Ctrl-C stops an answer; at the prompt it leaves.

Examples:
  gemlet chat
  gemlet chat --model google/gemma-3-270m-it --system "Answer in one sentence."
  echo "Tell me a story about Lily." | gemlet chat --seed 1
  gemlet chat --messages conversation.json --json`

const COMMANDS = `/reset      forget the conversation
/save FILE  write it to a file, as JSON
/load FILE  go on with a conversation from a file
/quit       leave (or Ctrl-D)`

export function define(command: Command): void {
  command.description("Has a conversation in the form that the model was trained on. Reads one message per line.")
  command
    .option("--system <text>", "instructions before the conversation")
    .option("--messages <file>", "begin with a conversation from a file; a last message of the user is answered")
  addSamplingOptions(addDraftOptions(addPrefixCacheOption(addModelOptions(command))))
  addJsonOption(command, "print one object at the end: the messages and the last answer")
    .option("--stats", "print tokens per second on stderr after each answer")
    .addHelpText("after", EXAMPLES)
    .action(chat)
}

async function chat(flags: Flags): Promise<void> {
  checkDraft(flags)
  const given = flags.messages === undefined ? [] : await readMessages(flags.messages)
  if (flags.json && flags.messages === undefined && process.stdin.isTTY) {
    throw new RangeError("--json: stdin is a terminal, expected --messages or one message per line on stdin")
  }
  const loaded = await interruptible((signal) => loadModel(flags, signal))
  await using lm = loaded.lm
  await using draft = await interruptible((signal) => loadDraft(lm, flags, signal))
  const session = new Session(loaded, draft, flags, given)
  expectTemplate(lm, session.beginning)
  if (flags.json) await printConversation(session, flags)
  else await converse(session)
}

/** A model without a chat template, or one that takes no system message, is told before the first turn. */
function expectTemplate(lm: LanguageModel, beginning: readonly Message[]): void {
  lm.encode([...beginning, { role: "user", content: "Hello" }])
}

/** Answers everything and prints one object. An error ends it. */
async function printConversation(session: Session, { messages }: Flags): Promise<void> {
  await interruptible(async (signal) => {
    if (session.pending) await session.answer(signal)
    if (messages === undefined) {
      for await (const line of pipedLines()) {
        if (line.trim() === "") continue
        session.messages.push({ role: "user", content: line })
        await session.answer(signal)
      }
    }
  })
  printJson(session.json())
}

/** The conversation of a terminal, or of lines that are piped in. */
async function converse(session: Session): Promise<void> {
  const terminal = process.stdin.isTTY
  let answering: AbortController | undefined
  const onInterrupt = () => {
    if (answering && !answering.signal.aborted) answering.abort()
    else process.exit(EXIT.interrupted)
  }
  const answer = async () => {
    answering = new AbortController()
    try {
      await session.answer(answering.signal, printAnswer)
    } catch (error) {
      if (error instanceof GpuError) throw error // no later turn can work
      process.stderr.write(`gemlet chat: ${describeError(error, "chat")}\n`)
    } finally {
      answering = undefined
    }
  }
  process.on("SIGINT", onInterrupt)
  try {
    if (terminal) note(session.banner)
    if (session.pending) await answer()
    for await (const line of terminal ? terminalLines(onInterrupt) : pipedLines()) {
      const text = line.trim()
      if (text === "/quit" || text === "/exit") break
      if (text === "") continue
      if (/^\/[a-z]+( |$)/.test(text)) {
        await session.command(text)
        if (session.pending) await answer() // of a conversation that was just read
        continue
      }
      session.messages.push({ role: "user", content: line })
      await answer()
    }
  } finally {
    process.off("SIGINT", onInterrupt)
  }
}

async function* pipedLines(): AsyncGenerator<string> {
  yield* createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })
}

/** Lines with editing and history. The terminal is ours only at the prompt, so that Ctrl-C is a signal in between. */
async function* terminalLines(onInterrupt: () => void): AsyncGenerator<string> {
  let history: string[] = []
  for (;;) {
    const prompt = createInterface({ input: process.stdin, output: process.stderr, history, historySize: 1000 })
    prompt.on("SIGINT", () => {
      prompt.close()
      process.stderr.write("\n")
      onInterrupt()
    })
    prompt.on("history", (lines: string[]) => {
      history = [...lines]
    })
    const line = await new Promise<string | undefined>((resolve) => {
      prompt.on("close", () => resolve(undefined))
      prompt.question("> ", resolve)
    })
    prompt.close()
    if (line === undefined) {
      process.stderr.write("\n")
      return
    }
    yield line
  }
}

/** The messages so far and what gives the next one. */
class Session {
  /** The system message, if there is one. */
  readonly beginning: readonly Message[]
  messages: Message[]
  readonly #loaded: LoadedModel
  readonly #draft: LanguageModel | undefined
  readonly #flags: Flags
  #last: { generation: Generation; firstTokenMs: number | undefined } | undefined

  constructor(loaded: LoadedModel, draft: LanguageModel | undefined, flags: Flags, given: readonly Message[]) {
    this.#loaded = loaded
    this.#draft = draft
    this.#flags = flags
    this.beginning = flags.system === undefined ? [] : [{ role: "system", content: flags.system }]
    this.messages = this.#start(given)
  }

  get banner(): string {
    const { name, adapters, lm } = this.#loaded
    return `${[name, ...adapters].join(" with ")} on ${lm.device.description}, context of ${lm.context} tokens. /help lists commands, Ctrl-C stops an answer.`
  }

  /** Whether a message waits for its answer. */
  get pending(): boolean {
    return this.messages.at(-1)?.role === "user"
  }

  /**
   * Answers the last message. An answer that is stopped counts as far as it came; a message that gets no answer is taken
   * back.
   */
  async answer(signal: AbortSignal, print: (text: string) => void = () => {}): Promise<void> {
    const { lm } = this.#loaded
    const { json, overflow, stats } = this.#flags
    const { maxTokens, ...options } = generationOptions(this.#flags)
    let generation: Generation | undefined
    let firstTokenMs: number | undefined
    let full = false
    const endLine = () => {
      if (generation?.text && !generation.text.endsWith("\n")) print("\n")
    }
    try {
      const { messages, room } = visibleMessages(lm, this.messages, overflow)
      const limit = overflow === "shift" ? maxTokens : Math.min(maxTokens ?? room, room)
      generation = lm.generate(messages, {
        ...options,
        ...draftOptions(this.#flags, this.#draft),
        maxTokens: limit,
        signal,
      })
      const began = performance.now()
      for await (const { text } of generation) {
        firstTokenMs ??= performance.now() - began
        print(text)
      }
      full = generation.finishReason === "length" && limit === room
    } catch (error) {
      if (!isAbort(error) || json) {
        this.messages.pop()
        endLine()
        throw error
      }
    }
    endLine()
    const { text = "" } = generation ?? {}
    if (signal.aborted) note("(stopped)")
    else if (full) note("(the context is full; /reset begins anew, --overflow shift forgets the oldest turns instead)")
    else if (text === "") note("(no answer)")
    if (text !== "" || json) this.messages.push({ role: "assistant", content: text })
    else this.messages.pop()
    if (generation) this.#last = { generation, firstTokenMs }
    if (stats && generation) note(statLine(generation))
  }

  /** What begins with a slash. */
  async command(text: string): Promise<void> {
    const [name, path] = text.split(/\s+(.*)/s)
    const wantsFile = name === "/save" || name === "/load"
    try {
      if (name === "/help") note(COMMANDS)
      else if (name === "/reset") {
        this.messages = this.#start([])
        note("(the conversation begins anew)")
      } else if (!wantsFile)
        throw new RangeError(`${name}: no such command, expected /help, /reset, /save, /load or /quit`)
      else if (!path) throw new RangeError(`${name}: file is missing, expected ${name} FILE`)
      else if (name === "/save") {
        await writeMessages(path, this.messages)
        note(`(${count(this.messages)} written to ${path})`)
      } else {
        this.messages = this.#start(await readMessages(path))
        note(`(${count(this.messages)} read from ${path})`)
      }
    } catch (error) {
      process.stderr.write(`gemlet chat: ${describeError(error, "chat")}\n`)
    }
  }

  json() {
    const last = this.#last
    if (!last)
      throw new RangeError(
        "chat: message is missing, expected one per line on stdin or a last one of the user in --messages",
      )
    return { messages: this.messages, ...answerJson(this.#loaded, last.generation, last.firstTokenMs) }
  }

  #start(given: readonly Message[]): Message[] {
    return given[0]?.role === "system" ? [...given] : [...this.beginning, ...given]
  }
}

function count(messages: readonly Message[]): string {
  return messages.length === 1 ? "1 message" : `${messages.length} messages`
}
