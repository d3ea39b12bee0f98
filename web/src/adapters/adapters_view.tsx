import { useEffect, useRef } from "preact/hooks"
import { activeRun, adapters, model, shownId } from "../state/store.ts"
import type { Adapter } from "../storage/adapter.ts"
import { NewRun } from "../train/new_run.tsx"
import { formatBytes, formatDate } from "../ui/format.ts"
import { bring, bringing, refreshAdapters } from "./adapters.ts"
import { DetailView } from "./detail_view.tsx"

export function AdaptersView() {
  const id = shownId.value
  return (
    <div class="scroller">
      <div class="column adapters">{id === undefined ? <Overview /> : <DetailView key={id} id={id} />}</div>
    </div>
  )
}

function Overview() {
  useEffect(() => void refreshAdapters(), []) // a failure to read it may be over
  return (
    <>
      <h1>Fine-tune</h1>
      <p class="quiet">
        An adapter is what a model learns from examples of yours. It lies beside the model, which stays as it is, and
        can be chosen for each conversation. Examples and adapters stay on this device.
      </p>
      <Kept />
      <NewRun />
      <Bring />
    </>
  )
}

function Kept() {
  const all = adapters.value
  return (
    <section aria-labelledby="adapters">
      <h2 id="adapters">Adapters on this device</h2>
      <ul class="kept" aria-labelledby="adapters">
        {all?.map((adapter) => (
          <li key={adapter.id}>
            <a href={`#/adapters/${adapter.id}`}>{adapter.name}</a>
            <span class="quiet">{describe(adapter)}</span>
          </li>
        ))}
      </ul>
      {all?.length === 0 && <p class="quiet">None yet.</p>}
    </section>
  )
}

/** Of an adapter on one line: `for storyteller, LoRA of rank 8, 300.0 KiB, step 4 of 20, Nov 21, 2026`. */
function describe({ id, base, bytes, run, updated, brought }: Adapter): string {
  const method = run && (run.options.method === "lora" ? "LoRA" : "LaMDA")
  const rank = run?.options.rank ?? brought?.rank
  return [
    `for ${base.name}`,
    `${method ?? brought?.kind} of rank ${rank}`,
    ...(bytes === undefined ? [] : [formatBytes(bytes)]),
    ...(run ? [stateOf(run, id)] : []),
    formatDate(updated),
  ].join(", ")
}

function stateOf({ status, step, options }: NonNullable<Adapter["run"]>, id: string): string {
  if (activeRun.value?.id === id) return "is being trained"
  if (status === "done") return `trained for ${step} steps`
  return `${status === "paused" ? "paused" : "left"} at step ${step} of ${options.steps}`
}

/** Where adapters from elsewhere come in. */
function Bring() {
  const folder = useRef<HTMLInputElement>(null)
  const files = useRef<HTMLInputElement>(null)
  const picked = ({ currentTarget }: { readonly currentTarget: HTMLInputElement }) => {
    const list = [...(currentTarget.files ?? [])]
    currentTarget.value = ""
    if (list.length > 0) void bring(list)
  }
  const { value } = bringing
  const isChecking = value !== undefined && value.trouble === undefined
  const isReady = model.value.kind === "ready"
  return (
    <section aria-labelledby="bring">
      <h2 id="bring">Bring one</h2>
      <div class="pick">
        <p>
          A PEFT folder (adapter_config.json with adapter_model.safetensors), or a zip of it, dropped anywhere on the
          page or picked here. It is tried with the model that is loaded{isReady && `, ${nameOfModel()}`}.
        </p>
        <div class="actions">
          <button type="button" disabled={!isReady || isChecking} onClick={() => files.current?.click()}>
            Pick a zip or files
          </button>
          <button type="button" disabled={!isReady || isChecking} onClick={() => folder.current?.click()}>
            Pick a folder
          </button>
        </div>
        <input ref={files} type="file" multiple hidden aria-label="An adapter's zip or files" onChange={picked} />
        <input
          ref={(element) => {
            folder.current = element
            element?.setAttribute("webkitdirectory", "")
          }}
          type="file"
          hidden
          aria-label="An adapter's folder"
          onChange={picked}
        />
      </div>
      {isChecking && <p role="status">Reading {value.name}…</p>}
      {value?.trouble && (
        <div role="alert">
          <p class="trouble">
            {value.name}: {value.trouble.title}. {value.trouble.text}
          </p>
          <button
            type="button"
            onClick={() => {
              bringing.value = undefined
            }}
          >
            Close
          </button>
        </div>
      )}
    </section>
  )
}

function nameOfModel(): string {
  const { value } = model
  return value.kind === "ready" ? value.choice.name : ""
}
