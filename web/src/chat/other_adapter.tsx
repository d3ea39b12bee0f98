import { fits } from "../adapters/base.ts"
import { adapters, conversation, live, model } from "../state/store.ts"
import { adapterOf } from "./adapter_of.ts"
import { keep } from "./conversations.ts"

/** Says why the adapter of a conversation cannot be on, and offers to go on without. */
export function OtherAdapter() {
  const current = conversation.value
  if (!current?.adapter || !adapters.value || live.value || model.value.kind !== "ready") return null
  const adapter = adapterOf(current)
  if (adapter && fits(adapter.base, model.value.choice)) return null
  return (
    <p class="quiet">
      {adapter
        ? `This conversation is with “${adapter.name}”, an adapter for ${adapter.base.name}.`
        : `This conversation is with “${current.adapter.name}”, an adapter that is not on this device any more.`}{" "}
      <button type="button" class="link" onClick={() => void keep({ ...current, adapter: undefined })}>
        Go on without it
      </button>
    </p>
  )
}
