import { signal } from "@preact/signals"
import { fittingAdapters } from "../chat/adapter_of.ts"
import { ModelTrouble } from "../models/model_trouble.tsx"
import { conversation, model, readyModel } from "../state/store.ts"
import { formatCount } from "../ui/format.ts"
import { AttentionView } from "./attention_view.tsx"
import { ExpectedView } from "./expected_view.tsx"
import { type LookState, look, lookAt, text } from "./look.ts"
import { LossView } from "./loss_view.tsx"
import { TokensView } from "./tokens_view.tsx"

/** The adapter that a text is to be looked at with, by its id; empty for none. */
const adapter = signal("")

/** A page that shows what the model makes of a text: what it expects, what it attends to, where it is surprised. */
export function LookView() {
  return (
    <div class="scroller">
      <div class="column look">
        <h1>Look inside</h1>
        {model.value.kind === "failed" && <ModelTrouble state={model.value} />}
        <p class="quiet">
          What the model expects after each token, what its heads attend to, and where a text surprises it. Everything
          is computed on this device.
        </p>
        <Ask />
        <Found state={look.value} />
      </div>
    </div>
  )
}

function Ask() {
  const lm = readyModel.value
  const open = conversation.value
  const fitting = fittingAdapters()
  const isBusy = !lm || look.value.kind === "working"
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        const on = fitting.find(({ id }) => id === adapter.value)
        if (lm) void lookAt({ kind: "text", text: text.value, adapter: on }, lm)
      }}
    >
      <label class="field">
        <span>Text</span>
        <textarea
          rows={4}
          placeholder="Type or paste something"
          value={text.value}
          onInput={({ currentTarget }) => {
            text.value = currentTarget.value
          }}
        />
      </label>
      {fitting.length > 0 && (
        <label class="choice">
          With{" "}
          <select
            value={adapter.value}
            onChange={({ currentTarget }) => {
              adapter.value = currentTarget.value
            }}
          >
            <option value="">the model alone</option>
            {fitting.map(({ id, name }) => (
              <option key={id} value={id}>
                {name}
              </option>
            ))}
          </select>
        </label>
      )}
      <div class="actions">
        <button type="submit" class="primary" disabled={isBusy || text.value === ""}>
          Look
        </button>
        {open && open.turns.length > 0 && (
          <button
            type="button"
            disabled={isBusy}
            onClick={() => {
              if (lm) void lookAt({ kind: "conversation", conversation: open }, lm)
            }}
          >
            Look at “{open.title}”
          </button>
        )}
      </div>
    </form>
  )
}

function Found({ state }: { readonly state: LookState }) {
  switch (state.kind) {
    case "none":
      return null
    case "working":
      return (
        <p class="quiet" role="status">
          The model reads…
        </p>
      )
    case "long":
      return <TooLong state={state} />
    case "failed":
      return (
        <p class="trouble" role="alert">
          {state.trouble.title}. {state.trouble.text}
        </p>
      )
    case "done":
      return (
        <>
          <p role="status">
            Read by <b>{state.look.model}</b>
            {state.look.adapter ? ` with the adapter “${state.look.adapter.name}”` : ", without an adapter"}.
          </p>
          <TokensView key={state.look} look={state.look} />
          <ExpectedView look={state.look} />
          <AttentionView look={state.look} />
          <LossView look={state.look} />
        </>
      )
  }
}

function TooLong({ state: { subject, ids, context } }: { readonly state: Extract<LookState, { kind: "long" }> }) {
  const lm = readyModel.value
  return (
    <div role="alert" class="card">
      <p>
        That is {formatCount(ids.length)} tokens, and the model is loaded with a context of {formatCount(context)}. Load
        it with a longer one, or look at the first {formatCount(context)} tokens alone.
      </p>
      <button type="button" disabled={!lm} onClick={() => lm && void lookAt(subject, lm, ids.slice(0, context))}>
        Look at the first {formatCount(context)}
      </button>
    </div>
  )
}
