import { useSignal } from "@preact/signals"
import { memo } from "preact/compat"
import { useLayoutEffect, useRef } from "preact/hooks"
import { LiveMarkdown, Markdown } from "../markdown/markdown.tsx"
import { activeRun, type LiveAnswer, live, readyModel } from "../state/store.ts"
import type { AnswerFacts, Ending, Turn } from "../storage/conversation.ts"
import { formatCount, formatRate } from "../ui/format.ts"
import { IconButton } from "../ui/icons.tsx"
import { edit, regenerate } from "./answer.ts"

/** Milliseconds that a tick stays in the place of the copy sign. */
const COPIED = 1500

const ENDINGS: Partial<Record<Ending, string>> = {
  length: "cut at its length",
  stopped: "stopped",
  failed: "failed",
}

/** A turn that is whole. */
export const TurnView = memo(({ turn }: { readonly turn: Turn }) => {
  const editing = useSignal(false)
  const isUser = turn.role === "user"
  if (editing.value) {
    return (
      <li class="turn user">
        <Editor
          text={turn.text}
          onDone={(text) => {
            editing.value = false
            if (text !== undefined) void edit(turn.id, text)
          }}
        />
      </li>
    )
  }
  return (
    <li class={`turn ${turn.role}`}>
      <article aria-label={isUser ? "You" : "Answer"}>
        {isUser ? <p class="said">{turn.text}</p> : <Markdown text={turn.text} />}
        {turn.facts?.trouble && <p class="trouble">{turn.facts.trouble}</p>}
      </article>
      <footer>
        <Copy text={turn.text} />
        <Redo
          turn={turn}
          onEdit={() => {
            editing.value = true
          }}
        />
        {!isUser && <Facts facts={turn.facts} />}
      </footer>
    </li>
  )
})

/** An answer that is being written. */
export function LiveTurn({ answer }: { readonly answer: LiveAnswer }) {
  const { text, tokens, tokensPerSecond } = answer
  const waiting = tokens.value === 0
  return (
    <li class="turn assistant live">
      <article aria-label="Answer" aria-live="polite" aria-busy="true">
        <LiveMarkdown text={text} />
        {waiting && <span class="pulse" role="img" aria-label="The model reads" />}
      </article>
      <footer>
        <span class="facts">
          {waiting ? "reading…" : `${formatCount(tokens.value)} tokens · ${formatRate(tokensPerSecond.value)}`}
        </span>
      </footer>
    </li>
  )
}

/** What makes an answer anew: only where there is a model, and no other answer or run underway. */
function Redo({ turn, onEdit }: { readonly turn: Turn; readonly onEdit: () => void }) {
  const disabled = !readyModel.value || live.value !== undefined || activeRun.value !== undefined
  if (turn.role === "user")
    return <IconButton icon="edit" label="Edit, and answer anew" onClick={onEdit} disabled={disabled} />
  return <IconButton icon="again" label="Answer anew" onClick={() => void regenerate(turn.id)} disabled={disabled} />
}

function Facts({ facts }: { readonly facts: AnswerFacts | undefined }) {
  if (!facts) return <span class="facts">the page was closed before its end</span>
  const { tokens, tokensPerSecond, promptTokens, reusedTokens, seed, model, adapter, ending } = facts
  const parts = [`${formatCount(tokens)} tokens`, ...(tokens > 1 ? [formatRate(tokensPerSecond)] : [])]
  if (adapter !== undefined) parts.push(`with ${adapter}`)
  const end = ENDINGS[ending]
  const more = `${model}; ${formatCount(promptTokens)} tokens of prompt, ${formatCount(reusedTokens)} of them reused; seed ${seed ?? "none"}`
  return (
    <span class="facts" title={more}>
      {[...parts, ...(end ? [end] : [])].join(" · ")}
    </span>
  )
}

function Copy({ text }: { readonly text: string }) {
  const state = useSignal<"" | "copied" | "refused">("")
  const copy = async () => {
    state.value = await navigator.clipboard.writeText(text).then(
      () => "copied",
      () => "refused", // by the user or a policy
    )
    setTimeout(() => {
      state.value = ""
    }, COPIED)
  }
  const { value } = state
  const label = value === "" ? "Copy" : value === "copied" ? "Copied" : "The browser did not allow it"
  return <IconButton icon={value === "copied" ? "check" : "copy"} label={label} onClick={() => void copy()} />
}

function Editor({ text, onDone }: { readonly text: string; readonly onDone: (text: string | undefined) => void }) {
  const ref = useRef<HTMLTextAreaElement>(null)
  useLayoutEffect(() => ref.current?.focus(), [])
  const save = () => {
    const { value } = ref.current!
    if (value.trim() !== "") onDone(value)
  }
  return (
    <div class="editor">
      <textarea
        ref={ref}
        aria-label="Your turn"
        defaultValue={text}
        rows={Math.min(12, text.split("\n").length + 1)}
        onKeyDown={(event) => {
          if (event.isComposing) return
          if (event.key === "Enter" && !event.shiftKey) {
            event.preventDefault()
            save()
          }
          if (event.key === "Escape") {
            event.preventDefault()
            onDone(undefined)
          }
        }}
      />
      <p class="quiet">What comes after this turn is answered anew.</p>
      <div class="actions">
        <button type="button" onClick={() => onDone(undefined)}>
          Cancel
        </button>
        <button type="button" class="primary" onClick={save}>
          Send
        </button>
      </div>
    </div>
  )
}
