import type { Signal } from "@preact/signals"
import { useEffect, useRef } from "preact/hooks"
import { notice, type Trouble } from "../state/store.ts"
import { troubleOf } from "../state/trouble.ts"
import { formatBytes, formatCount } from "../ui/format.ts"
import { type Examples, readExamples, readTextFile } from "./examples.ts"
import { form, texts } from "./form.ts"

/** Examples as they were last checked: undefined while that is to come. */
export type Checked = Signal<
  | { readonly kind: "good"; readonly examples: Examples }
  | { readonly kind: "bad"; readonly trouble: Trouble }
  | undefined
>

/** Milliseconds after the last key until what was typed is checked. */
const REST = 150
/** Of fewer examples none are held out; so it is in the engine. */
const HELD_OUT_FROM = 20

/** Takes files of examples in the place of those that are there. */
export async function pickExamples(files: readonly File[]): Promise<void> {
  try {
    form.value = { ...form.value, files: await Promise.all(files.map(readTextFile)) }
  } catch (error) {
    const { title, text } = troubleOf(error)
    notice.value = { text: `${title}. ${text}`, alert: true }
  }
}

/** Where examples are pasted, or picked. */
export function ExamplesField({ checked }: { readonly checked: Checked }) {
  const input = useRef<HTMLInputElement>(null)
  const { files, pasted } = form.value
  useCheck(checked)
  return (
    <>
      {files.length === 0 ? (
        <label class="field">
          <span>Examples</span>
          <textarea
            rows={7}
            value={pasted}
            aria-describedby="examples-state"
            spellcheck={false}
            placeholder={'{"prompt": "Once upon a time", "completion": " there was a fox."}'}
            onInput={(event) => {
              form.value = { ...form.value, pasted: event.currentTarget.value }
            }}
          />
          <small>
            One JSON record a line, with text, prompt and completion, or messages; or plain texts with empty lines
            between them.
          </small>
        </label>
      ) : (
        <div class="field">
          <span>Examples</span>
          <p>{files.map(({ name, text }) => `${name} (${formatBytes(text.length)})`).join(", ")}</p>
        </div>
      )}
      <div class="actions">
        <button type="button" onClick={() => input.current?.click()}>
          Pick files
        </button>
        {files.length > 0 && (
          <button
            type="button"
            onClick={() => {
              form.value = { ...form.value, files: [] }
            }}
          >
            Take them away
          </button>
        )}
      </div>
      <input
        ref={input}
        type="file"
        accept=".jsonl,.txt,.md"
        multiple
        hidden
        aria-label="Files of examples"
        onChange={({ currentTarget }) => {
          const list = [...(currentTarget.files ?? [])]
          if (list.length > 0) void pickExamples(list)
          currentTarget.value = ""
        }}
      />
      <State checked={checked} />
    </>
  )
}

function State({ checked: { value } }: { readonly checked: Checked }) {
  if (value?.kind === "bad") {
    return (
      <p class="trouble" role="alert" id="examples-state">
        {value.trouble.text}
      </p>
    )
  }
  const count = value?.examples.count ?? 0
  return (
    <p class="quiet" role="status" id="examples-state">
      {value ? `${formatCount(count)} ${count === 1 ? "example" : "examples"}. ` : "Reading… "}
      {count >= HELD_OUT_FROM
        ? "Some are held out: they are not learnt from, and tell how well it does on what it has not seen."
        : `From ${HELD_OUT_FROM} on, some are held out to measure by.`}
    </p>
  )
}

/** Checks what is there, a moment after it has changed. */
function useCheck(checked: Checked): void {
  const given = texts.value
  useEffect(() => {
    const controller = new AbortController()
    const check = async () => {
      checked.value = await readExamples(given, controller.signal).then(
        (examples) => ({ kind: "good", examples }) as const,
        (error: unknown) =>
          controller.signal.aborted ? checked.value : ({ kind: "bad", trouble: troubleOf(error) } as const),
      )
    }
    const timer = setTimeout(() => void check(), REST)
    checked.value = undefined
    return () => {
      clearTimeout(timer)
      controller.abort()
    }
  }, [checked, given])
}
