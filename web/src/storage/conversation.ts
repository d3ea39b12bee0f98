/** What a conversation's prompt is made of: turns through the model's chat template, or plain text that goes on. */
export type Mode = "chat" | "text"

export type Ending = "eos" | "stop" | "length" | "stopped" | "failed"

/** What an answer took. */
export interface AnswerFacts {
  readonly model: string
  readonly ending: Ending
  readonly tokens: number
  readonly tokensPerSecond: number
  readonly promptTokens: number
  readonly reusedTokens: number
  readonly seed: number | undefined
  /** What the adapter was called that it was written with. */
  readonly adapter?: string | undefined
  /** Why it failed, in words. */
  readonly trouble?: string | undefined
}

export interface Turn {
  readonly id: string
  readonly role: "user" | "assistant"
  readonly text: string
  /** Of an answer; missing while it is written, or if the page was closed then. */
  readonly facts?: AnswerFacts | undefined
}

export interface Conversation {
  readonly id: string
  readonly title: string
  /** The user gave it the title: it stays as it is. */
  readonly named: boolean
  /** Milliseconds since 1970. */
  readonly created: number
  readonly updated: number
  readonly system: string
  /** Undefined: as the model can. */
  readonly mode: Mode | undefined
  /** What is on while it is answered, by its name when it was chosen; missing is none. */
  readonly adapter?: { readonly id: string; readonly name: string } | undefined
  readonly turns: readonly Turn[]
}

/** What the list shows of a conversation. */
export type Summary = Pick<Conversation, "id" | "title" | "updated">

const TITLE_LENGTH = 60
export const UNTITLED = "New conversation"

export function newConversation(): Conversation {
  const now = Date.now()
  const id = crypto.randomUUID()
  return { id, title: UNTITLED, named: false, created: now, updated: now, system: "", mode: undefined, turns: [] }
}

export function newTurn(role: Turn["role"], text: string): Turn {
  return { id: crypto.randomUUID(), role, text }
}

/** The conversation with other turns, and a title of its first one unless the user gave it one. */
export function withTurns(conversation: Conversation, turns: readonly Turn[]): Conversation {
  const title = conversation.named ? conversation.title : titleOf(turns)
  return { ...conversation, turns, title, updated: Date.now() }
}

/** The conversation with a turn in the place of the one of the same id. */
export function withTurn(conversation: Conversation, turn: Turn): Conversation {
  return withTurns(
    conversation,
    conversation.turns.map((each) => (each.id === turn.id ? turn : each)),
  )
}

function titleOf(turns: readonly Turn[]): string {
  const text = turns[0]?.text.replace(/\s+/g, " ").trim() ?? ""
  if (text === "") return UNTITLED
  return text.length > TITLE_LENGTH ? `${text.slice(0, TITLE_LENGTH - 1)}…` : text
}
