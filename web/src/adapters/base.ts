import { STORYTELLER_CHOICE } from "../models/load_model.ts"
import type { Choice } from "../state/store.ts"
import type { Base } from "../storage/adapter.ts"

/** A model as the adapters on it know it. */
export function baseOf({ name, location }: Choice): Base {
  if (typeof location === "object" && "kept" in location) return { name, kept: location.kept }
  return { name, kept: location === STORYTELLER_CHOICE.location ? "storyteller" : undefined }
}

/** Whether an adapter is for a model. By its name: a kept model's is its id, and files that are picked again have theirs. */
export function fits(base: Base, choice: Choice): boolean {
  return base.name === choice.name
}
