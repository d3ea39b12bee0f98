import { useSignal } from "@preact/signals"
import { useEffect } from "preact/hooks"
import { activeRun, model } from "../state/store.ts"
import { type Checked, ExamplesField } from "./examples_field.tsx"
import { form, type NumberSetting, numberSettings, optionsOf } from "./form.ts"
import { leaveWeighed, weighing, weighRun } from "./runs.ts"
import { Weighed } from "./weighed.tsx"

/** What is to be learnt, and how; then what that takes, and its start. */
export function NewRun() {
  useEffect(() => () => void leaveWeighed(), [])
  const { value } = model
  const isWeighed = weighing.value?.kind !== "failed" && weighing.value !== undefined && activeRun.value !== undefined
  return (
    <section aria-labelledby="new-run">
      <h2 id="new-run">New adapter</h2>
      {value.kind !== "ready" ? (
        <p>
          {value.kind === "loading" ? "The model is on its way." : "It needs a model first."}{" "}
          <a href="#/models">Models</a>
        </p>
      ) : isWeighed ? (
        <Weighed />
      ) : (
        <RunForm base={value.choice.name} />
      )}
    </section>
  )
}

function RunForm({ base }: { readonly base: string }) {
  const checked: Checked = useSignal(undefined)
  const { value } = form
  const examples = checked.value?.kind === "good" ? checked.value.examples : undefined
  const failed = weighing.value?.kind === "failed" ? weighing.value.trouble : undefined
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        if (examples) void weighRun(value.name.trim(), optionsOf(value), examples)
      }}
    >
      <ExamplesField checked={checked} />
      <label class="field">
        <span>Name</span>
        <input
          required
          pattern=".*\S.*"
          maxLength={100}
          value={value.name}
          onInput={(event) => {
            form.value = { ...form.value, name: event.currentTarget.value }
          }}
        />
      </label>
      <label class="field">
        <span>Method</span>
        <select
          value={value.method}
          onChange={(event) => {
            form.value = { ...form.value, method: event.currentTarget.value === "lamda" ? "lamda" : "lora" }
          }}
        >
          <option value="lora">LoRA: two small factors beside each weight</option>
          <option value="lamda">LaMDA: fewer numbers yet, from the weight's own directions</option>
        </select>
      </label>
      <div class="numbers">
        {numberSettings().map((setting) => (
          <NumberField key={setting.key} setting={setting} />
        ))}
      </div>
      <label class="check">
        <input
          type="checkbox"
          checked={value.recompute}
          onChange={(event) => {
            form.value = { ...form.value, recompute: event.currentTarget.checked }
          }}
        />
        Compute again what gradients need: less memory, more time
      </label>
      {failed && (
        <p class="trouble" role="alert">
          {failed.title}. {failed.text}
        </p>
      )}
      {activeRun.value && <p class="quiet">“{activeRun.value.name}” is being trained; pause it to begin another.</p>}
      <div class="actions">
        <button
          type="submit"
          class="primary"
          disabled={!examples || examples.count === 0 || activeRun.value !== undefined}
        >
          See what it takes
        </button>
        <span class="quiet">The base is {base}.</span>
      </div>
    </form>
  )
}

function NumberField({ setting: { key, label, hint, min, max, step } }: { readonly setting: NumberSetting }) {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        type="number"
        required={key !== "rate"}
        min={min}
        max={max}
        step={step}
        value={form.value.numbers[key] ?? ""}
        onInput={({ currentTarget }) => {
          const { [key]: _, ...others } = form.value.numbers
          const numbers = currentTarget.value === "" ? others : { ...others, [key]: currentTarget.valueAsNumber }
          form.value = { ...form.value, numbers }
        }}
      />
      <small>{hint}</small>
    </label>
  )
}
