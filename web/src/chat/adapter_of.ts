import { fits } from "../adapters/base.ts"
import { adapters, model } from "../state/store.ts"
import type { Adapter } from "../storage/adapter.ts"
import type { Conversation } from "../storage/conversation.ts"

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

/** What the adapter of a conversation is called now, or was when there was one. */
export function adapterName(conversation: Pick<Conversation, "adapter">): string | undefined {
  return adapterOf(conversation)?.name ?? conversation.adapter?.name
}
