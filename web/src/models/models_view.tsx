import { useRef } from "preact/hooks"
import { model, offline } from "../state/store.ts"
import { formatBytes, formatCount } from "../ui/format.ts"
import { Linked } from "../ui/linked.tsx"
import { AccessTokenField } from "./access_token.tsx"
import { candidate, chooseFiles, chooseHub, forget } from "./choose.ts"
import { KeptModels } from "./kept_view.tsx"
import { loadModel, STORYTELLER_CHOICE } from "./load_model.ts"
import { ModelTrouble } from "./model_trouble.tsx"
import { Preflight } from "./preflight.tsx"

export function ModelsView() {
  return (
    <div class="scroller">
      <div class="column models">
        <h1>Models</h1>
        {model.value.kind === "failed" && <ModelTrouble state={model.value} />}
        <Current />
        <KeptModels />
        <Sources />
        <Chosen />
      </div>
    </div>
  )
}

function Current() {
  const { value } = model
  if (value.kind !== "ready") return null
  const { lm, choice } = value
  const { memory, device } = lm
  return (
    <section aria-labelledby="current">
      <h2 id="current">{choice.name}</h2>
      <table>
        <tbody>
          <Row name="Parameters" value={formatCount(lm.parameters.total)} />
          <Row name="Context" value={`${formatCount(lm.context)} positions`} />
          <Row name="Computed by" value={`${device.description}${device.software ? " (software: slow)" : ""}`} />
          <Row name="Weights" value={formatBytes(memory.weights)} />
          <Row name="Keys and values" value={formatBytes(memory.cache)} />
          <Row name="GPU memory in all" value={`${formatBytes(memory.total)}, ${formatBytes(memory.peak)} at most`} />
        </tbody>
      </table>
      {choice !== STORYTELLER_CHOICE && (
        <button type="button" onClick={() => void loadModel(STORYTELLER_CHOICE)}>
          Back to the storyteller
        </button>
      )}
    </section>
  )
}

function Row({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <tr>
      <th scope="row">{name}</th>
      <td>{value}</td>
    </tr>
  )
}

function Sources() {
  const folder = useRef<HTMLInputElement>(null)
  const files = useRef<HTMLInputElement>(null)
  const hub = useRef<HTMLInputElement>(null)
  const picked = ({ currentTarget }: { readonly currentTarget: HTMLInputElement }) => {
    const list = [...(currentTarget.files ?? [])]
    if (list.length > 0) void chooseFiles(list)
    currentTarget.value = ""
  }
  return (
    <section aria-labelledby="another">
      <h2 id="another">Another model</h2>
      <form
        class="hub"
        onSubmit={(event) => {
          event.preventDefault()
          void chooseHub(hub.current!.value)
        }}
      >
        <label class="field">
          <span>On the Hugging Face Hub</span>
          <input
            ref={hub}
            required
            pattern="\s*[\w.\-]+/[\w.\-]+(/[\w.\-]+\.gguf)?\s*"
            title="owner/name, or owner/name/FILE.gguf"
            placeholder="owner/name, or owner/name/FILE.gguf"
            autocapitalize="off"
            autocomplete="off"
            spellcheck={false}
          />
        </label>
        <button type="submit">Look</button>
      </form>
      <div role="status">
        {offline.value && (
          <p class="trouble">There is no network now. Models on this device, and files that you pick, need none.</p>
        )}
      </div>
      <AccessTokenField />
      <div class="pick">
        <p>Or drop a checkpoint's folder or a GGUF file anywhere on the page.</p>
        <div class="actions">
          <button type="button" onClick={() => folder.current?.click()}>
            Pick a folder
          </button>
          <button type="button" onClick={() => files.current?.click()}>
            Pick files
          </button>
        </div>
        <input
          ref={(element) => {
            folder.current = element
            element?.setAttribute("webkitdirectory", "")
          }}
          type="file"
          hidden
          aria-label="A checkpoint's folder"
          onChange={picked}
        />
        <input ref={files} type="file" multiple hidden aria-label="A checkpoint's files" onChange={picked} />
      </div>
    </section>
  )
}

function Chosen() {
  const { value } = candidate
  if (!value) return null
  return (
    <section aria-labelledby="chosen" aria-live="polite">
      <h2 id="chosen">{value.name}</h2>
      {value.kind === "opening" && <p class="quiet">Reading what it is made of…</p>}
      {value.kind === "failed" && (
        <p class="trouble" role="alert">
          {value.trouble.title}. <Linked text={value.trouble.text} />
        </p>
      )}
      {value.kind === "open" && <Preflight key={value.name} checkpoint={value.checkpoint} found={value.found.kind} />}
      {value.kind !== "open" && (
        <button type="button" onClick={() => void forget()}>
          {value.kind === "opening" ? "Cancel" : "Close"}
        </button>
      )}
    </section>
  )
}
