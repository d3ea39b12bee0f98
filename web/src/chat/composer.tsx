import { signal } from "@preact/signals"
import { useLayoutEffect, useRef } from "preact/hooks"
import { activeRun, answeringHere, conversation, live, model, positions, readyModel } from "../state/store.ts"
import { formatBytes, formatCount } from "../ui/format.ts"
import { Icon, IconButton } from "../ui/icons.tsx"
import { adapterName } from "./adapter_of.ts"
import { send, stop } from "./answer.ts"
import { modeWith } from "./prompt.ts"
import { SettingsDialog, settingsOpen } from "./settings_dialog.tsx"

/** What was typed and not sent: it stays while other views are looked at. */
const draft = signal("")

export function Composer() {
  const ref = useRef<HTMLTextAreaElement>(null)
  const lm = readyModel.value
  const busy = live.value !== undefined
  const isText = lm !== undefined && modeWith(lm, conversation.value ?? { mode: undefined }) === "text"
  const canSend = () =>
    readyModel.value && conversation.value && !live.value && !activeRun.value && draft.value.trim() !== ""
  useLayoutEffect(() => {
    if (matchMedia("(hover: hover)").matches) ref.current?.focus() // a phone would open its keyboard
  }, [conversation.value?.id])
  const submit = () => {
    if (!canSend()) return
    void send(draft.value)
    draft.value = ""
  }
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault()
        submit()
      }}
    >
      {isText && <p class="quiet">Plain text: the model goes on with what you write.</p>}
      <Training />
      <div class="entry">
        <textarea
          ref={ref}
          aria-label={isText ? "Text to go on with" : "Message"}
          placeholder={isText ? "Once upon a time" : "Message"}
          rows={1}
          value={draft.value}
          onInput={(event) => {
            draft.value = event.currentTarget.value
          }}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return
            event.preventDefault()
            submit()
          }}
        />
        <IconButton
          icon="settings"
          label="System text and sampling"
          onClick={() => {
            settingsOpen.value = true
          }}
        />
        {busy ? (
          <button type="button" class="round primary" aria-label="Stop" title="Stop (Esc)" onClick={stop}>
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" class="round primary" aria-label="Send" title="Send (Enter)" disabled={!canSend()}>
            <Icon name="send" />
          </button>
        )}
      </div>
      <Gauges />
      <SettingsDialog />
    </form>
  )
}

/** Why there is no answer while a run has the model, and the way to one. */
function Training() {
  const { value } = activeRun
  if (!value) return null
  const { step, steps } = value.last.value ?? {}
  const isStopping = value.phase.value === "stopping"
  return (
    <p class="quiet">
      The model is being trained: <a href={`#/adapters/${value.id}`}>{value.name}</a>
      {step !== undefined && `, step ${formatCount(step)} of ${formatCount(steps!)}`}.{" "}
      <button type="button" class="link" disabled={isStopping} onClick={() => void value.stop()}>
        {isStopping ? "It is being saved" : "Pause it to go on here"}
      </button>
    </p>
  )
}

/** What the conversation takes of the model's context, and the model of the device. */
function Gauges() {
  const lm = readyModel.value
  const elsewhere = live.value !== undefined && !answeringHere.value
  if (elsewhere) return <p class="gauges">Another conversation is being answered.</p>
  if (!lm)
    return <p class="gauges">{model.value.kind === "loading" ? "The model is loading." : "There is no model."}</p>
  const used = answeringHere.value ? (positions.value ?? 0) : usedBy()
  return (
    <p class="gauges">
      <span>
        {formatCount(used)} of {formatCount(lm.context)} positions
      </span>
      <span>{formatBytes(lm.memory.total)} of GPU memory</span>
      {conversation.value?.adapter && <span>with {adapterName(conversation.value)}</span>}
    </p>
  )
}

/** Positions that the last answer left taken; 0 where none tells. */
function usedBy(): number {
  const facts = conversation.value?.turns.findLast(({ facts }) => facts !== undefined)?.facts
  return facts ? facts.promptTokens + facts.tokens : 0
}
