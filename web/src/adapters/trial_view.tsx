import { useSignal } from "@preact/signals"
import { useEffect } from "preact/hooks"
import { LiveMarkdown } from "../markdown/markdown.tsx"
import { activeRun, live } from "../state/store.ts"
import type { Adapter } from "../storage/adapter.ts"
import { formatCount } from "../ui/format.ts"
import { type Side, stopTrial, trial, tryBeside } from "./trial.ts"

/** A prompt for the base and the adapter, and their two answers. */
export function TrialSection({ adapter }: { readonly adapter: Adapter }) {
  const prompt = useSignal("")
  useEffect(() => stopTrial, []) // the chat would wait for it
  const current = trial.value?.id === adapter.id ? trial.value : undefined
  const isUnderway = current?.isUnderway.value ?? false
  const isTaken = live.value !== undefined || activeRun.value !== undefined
  return (
    <section aria-labelledby="try">
      <h2 id="try">Try it beside the base</h2>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void tryBeside(adapter, prompt.value)
        }}
      >
        <label class="field">
          <span>Prompt</span>
          <textarea
            rows={2}
            required
            value={prompt.value}
            onInput={(event) => {
              prompt.value = event.currentTarget.value
            }}
          />
          <small>Both get the same sampling, as set in the chat, and the same seed.</small>
        </label>
        {isUnderway ? (
          <button type="button" disabled={current?.controller.signal.aborted} onClick={stopTrial}>
            Stop
          </button>
        ) : (
          <button type="submit" class="primary" disabled={isTaken || prompt.value.trim() === ""}>
            Answer twice
          </button>
        )}
        {isTaken && <p class="quiet">The model is busy: {activeRun.value ? "it is being trained" : "it answers"}.</p>}
      </form>
      {current?.trouble.value && (
        <p class="trouble" role="alert">
          {current.trouble.value.title}. {current.trouble.value.text}
        </p>
      )}
      {current && (
        <div class="beside">
          <Answer name={`${adapter.base.name} alone`} side={current.base} />
          <Answer name={`With ${adapter.name}`} side={current.adapted} />
        </div>
      )}
    </section>
  )
}

function Answer({ name, side }: { readonly name: string; readonly side: Side }) {
  return (
    <article aria-label={name}>
      <h3>{name}</h3>
      <LiveMarkdown key={side} text={side.text} />
      <p class="quiet">{formatCount(side.tokens.value)} tokens</p>
    </article>
  )
}
