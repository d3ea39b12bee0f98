import { model } from "../state/store.ts"
import { formatBytes, formatProgress } from "../ui/format.ts"
import { cancelLoading, loadModel, STORYTELLER_CHOICE } from "./load_model.ts"

/** In the page's head: which model is there, or how far it is. */
export function ModelStatus() {
  const { value } = model
  if (value.kind === "loading") return <Loading />
  if (value.kind === "none") {
    return (
      <div class="status">
        <span>No model</span>
        <button type="button" class="link" onClick={() => void loadModel(STORYTELLER_CHOICE)}>
          Load the storyteller
        </button>
      </div>
    )
  }
  return (
    <div class="status">
      <a class="link name" href="#/models">
        {value.choice.name}
      </a>
      {value.kind === "ready" && value.lm.device.software && <span class="badge">software: slow</span>}
      {value.kind === "failed" && <span class="badge bad">not loaded</span>}
    </div>
  )
}

function Loading() {
  const { value } = model
  if (value.kind !== "loading") return null
  const { progress, choice } = value
  return (
    <div class="status" role="status" aria-label={`Loading ${choice.name}`}>
      <span class="name">{choice.name}</span>
      <progress aria-label="Loaded" max={progress?.total ?? 1} value={progress?.loaded} />
      {progress && <span class="quiet">{amount(progress)}</span>}
      <button type="button" class="link" onClick={cancelLoading}>
        Cancel
      </button>
    </div>
  )
}

function amount(progress: NonNullable<Extract<typeof model.value, { kind: "loading" }>["progress"]>): string {
  if (progress.phase === "download") return formatProgress(progress)
  return `${formatBytes(progress.loaded)} of ${formatBytes(progress.total)}`
}
