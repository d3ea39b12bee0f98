import { fits } from "../adapters/base.ts"
import { adapters, conversation, live, model } from "../state/store.ts"
import type { Adapter } from "../storage/adapter.ts"
import type { Conversation } from "../storage/conversation.ts"
import { keep } from "./conversations.ts"

/** The adapter that a conversation is with, as the page keeps it. */
export function adapterOf({ adapter }: Pick<Conversation, "adapter">): Adapter | undefined {
  return adapter && adapters.value?.find(({ id }) => id === adapter.id)
}

/** The adapters that are for the model that is there. */
export function fittingAdapters(): readonly Adapter[] {
  const { value } = model
  if (value.kind !== "ready") return []
  return adapters.value?.filter(({ base, bytes }) => bytes !== undefined && fits(base, value.choice)) ?? []
}

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
