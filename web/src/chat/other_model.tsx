import { wayTo } from "../models/choose.ts"
import { conversation, live, model } from "../state/store.ts"
import type { Conversation } from "../storage/conversation.ts"
import { adapterOf } from "./adapter_of.ts"

/** Offers the model that a conversation was with, or that its adapter is for, where another is there and that one can be had again. */
export function OtherModel() {
  const { value } = model
  const last = conversation.value && modelOf(conversation.value)
  if (last === undefined || live.value || value.kind === "loading") return null
  if (value.kind === "ready" && value.choice.name === last) return null
  const again = wayTo(last)
  return (
    again && (
      <p class="quiet">
        This conversation was with {last}.{" "}
        <button type="button" class="link" onClick={() => void again()}>
          Load {last}
        </button>
      </p>
    )
  )
}

function modelOf(conversation: Conversation): string | undefined {
  const last = conversation.turns.findLast(({ facts }) => facts !== undefined)
  return adapterOf(conversation)?.base.name ?? last?.facts?.model
}
