import { loadKept } from "../models/choose.ts"
import { loadModel, STORYTELLER_CHOICE } from "../models/load_model.ts"
import { conversation, live, model, storage } from "../state/store.ts"

/** Offers the model that a conversation was with, where another is there and that one can be had again. */
export function OtherModel() {
  const { value } = model
  const last = conversation.value?.turns.findLast(({ facts }) => facts !== undefined)?.facts?.model
  if (last === undefined || live.value || value.kind === "loading") return null
  if (value.kind === "ready" && value.choice.name === last) return null
  const again = wayBack(last)
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

function wayBack(name: string): (() => Promise<void>) | undefined {
  if (name === STORYTELLER_CHOICE.name) return () => loadModel(STORYTELLER_CHOICE)
  const { value } = storage
  const isKept = value.kind === "read" && value.models.some(({ id, complete }) => id === name && complete)
  return isKept ? () => loadKept(name) : undefined
}
