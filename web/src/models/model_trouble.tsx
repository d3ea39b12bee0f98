import { type model, view } from "../state/store.ts"
import { Linked } from "../ui/linked.tsx"
import { loadModel, rebuild, STORYTELLER_CHOICE } from "./load_model.ts"

type Failed = Extract<typeof model.value, { kind: "failed" }>

/** Why there is no model, and the way on. */
export function ModelTrouble({ state: { choice, trouble } }: { readonly state: Failed }) {
  const isOther = choice !== STORYTELLER_CHOICE
  return (
    <section class="card" role="alert" aria-label={trouble.title}>
      <h2>{trouble.title}</h2>
      <p>
        <Linked text={trouble.text} />
      </p>
      {trouble.kind === "no-webgpu" && <Browsers />}
      <div class="actions">
        <button type="button" class="primary" onClick={() => void rebuild()}>
          {trouble.kind === "lost" ? "Bring the model back" : "Try again"}
        </button>
        {isOther && (
          <button type="button" onClick={() => void loadModel(STORYTELLER_CHOICE)}>
            Load the storyteller
          </button>
        )}
        {view.value !== "models" && needsAnother(trouble) && (
          <a class="button" href="#/models">
            {trouble.kind === "access" ? "Give a token" : "Choose another"}
          </a>
        )}
      </div>
    </section>
  )
}

/** Whether the same would fail again. */
function needsAnother({ kind }: Failed["trouble"]): boolean {
  return kind === "memory" || kind === "access"
}

/** Where WebGPU is, and what to turn on where it is not by itself. */
function Browsers() {
  return (
    <>
      <p>Browsers with WebGPU:</p>
      <ul>
        <li>Chrome, Edge and others of their kind: from 113 on Windows, macOS and ChromeOS, from 121 on Android.</li>
        <li>
          Chrome on Linux: where it is off, turn on <code>chrome://flags/#enable-unsafe-webgpu</code> and{" "}
          <code>chrome://flags/#enable-vulkan</code>.
        </li>
        <li>Safari: from 26 on macOS, iOS, iPadOS and visionOS.</li>
        <li>Firefox: from 141 on Windows, from 145 on macOS with Apple silicon; elsewhere in Firefox Nightly.</li>
      </ul>
      <p>
        Where the browser is new enough: see that hardware acceleration is turned on in its settings, and look at{" "}
        <code>chrome://gpu</code> or <code>about:support</code> for why not. Conversations that are kept here can be
        read and exported without it.
      </p>
    </>
  )
}
