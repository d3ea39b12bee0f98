import { signal } from "@preact/signals"
import { conversation, readyModel, type SamplingSettings, sampling } from "../state/store.ts"
import type { Conversation, Mode } from "../storage/conversation.ts"
import { Dialog } from "../ui/dialog.tsx"
import { fittingAdapters } from "./adapter_of.ts"
import { keep } from "./conversations.ts"
import { modeWith } from "./prompt.ts"

export const settingsOpen = signal(false)

interface NumberSetting {
  readonly key: keyof SamplingSettings
  readonly label: string
  readonly hint: string
  readonly min: number
  readonly max?: number
  readonly step: number | "any"
  /** What holds where neither the user nor the checkpoint says anything. */
  readonly fallback: string
}

const NUMBERS: readonly NumberSetting[] = [
  {
    key: "temperature",
    label: "Temperature",
    hint: "0 takes the likeliest token",
    min: 0,
    max: 1000,
    step: "any",
    fallback: "0",
  },
  {
    key: "topK",
    label: "Top k",
    hint: "keep the k likeliest; 0 keeps all",
    min: 0,
    max: 2 ** 31,
    step: 1,
    fallback: "0",
  },
  {
    key: "topP",
    label: "Top p",
    hint: "keep the likeliest with this probability together",
    min: 0.0001,
    max: 1,
    step: "any",
    fallback: "1",
  },
  {
    key: "minP",
    label: "Min p",
    hint: "keep those this fraction as likely as the likeliest",
    min: 0,
    max: 0.9999,
    step: "any",
    fallback: "0",
  },
  {
    key: "repetitionPenalty",
    label: "Repetition penalty",
    hint: "1 does nothing",
    min: 0.0001,
    max: 1000,
    step: "any",
    fallback: "1",
  },
  {
    key: "seed",
    label: "Seed",
    hint: "the same seed draws the same tokens",
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    step: 1,
    fallback: "random",
  },
  {
    key: "maxTokens",
    label: "Most tokens",
    hint: "of an answer",
    min: 1,
    max: Number.MAX_SAFE_INTEGER,
    step: 1,
    fallback: "until the end",
  },
]

export function SettingsDialog() {
  return (
    <Dialog open={settingsOpen} title="System text and sampling">
      <Instructions />
      <fieldset>
        <legend>Sampling, in all conversations</legend>
        <div class="numbers">
          {NUMBERS.map((setting) => (
            <NumberField key={setting.key} setting={setting} />
          ))}
        </div>
        <p class="quiet">An empty field is the checkpoint's own recommendation.</p>
        <button
          type="button"
          onClick={() => {
            sampling.value = {}
          }}
        >
          All as recommended
        </button>
      </fieldset>
    </Dialog>
  )
}

function Instructions() {
  const lm = readyModel.value
  const current = conversation.value
  if (!current) return null
  const mode = lm ? modeWith(lm, current) : (current.mode ?? "chat")
  const hasTemplate = lm === undefined || (lm.tokenizer?.hasChatTemplate ?? false)
  return (
    <fieldset>
      <legend>This conversation</legend>
      <label class="field">
        <span>Mode</span>
        <select
          value={mode}
          disabled={!hasTemplate}
          onChange={(event) => void keep({ ...current, mode: event.currentTarget.value as Mode })}
        >
          <option value="chat">Chat: turns and answers</option>
          <option value="text">Plain text: the model goes on</option>
        </select>
      </label>
      {!hasTemplate && <p class="quiet">This model has no chat template, so it can only go on with a text.</p>}
      <AdapterChoice current={current} />
      <label class="field">
        <span>System text</span>
        <textarea
          rows={3}
          placeholder="What the model is told before the first turn"
          value={current.system}
          onChange={(event) => void keep({ ...current, system: event.currentTarget.value })}
        />
      </label>
    </fieldset>
  )
}

/** The adapters that fit the model; one that was chosen with another model stays chosen until another is. */
function AdapterChoice({ current }: { readonly current: Conversation }) {
  const fitting = fittingAdapters()
  const { adapter: chosen } = current
  const isMissing = chosen !== undefined && !fitting.some(({ id }) => id === chosen.id)
  if (fitting.length === 0 && !isMissing) return null
  const choose = (chosenId: string) => {
    const found = fitting.find(({ id }) => id === chosenId)
    void keep({ ...current, adapter: found && { id: found.id, name: found.name } })
  }
  return (
    <label class="field">
      <span>Adapter</span>
      <select value={chosen?.id ?? ""} onChange={(event) => choose(event.currentTarget.value)}>
        <option value="">None: the model as it is</option>
        {fitting.map(({ id, name }) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
        {isMissing && <option value={chosen.id}>{chosen.name} (not for this model, or deleted)</option>}
      </select>
    </label>
  )
}

function NumberField({ setting }: { readonly setting: NumberSetting }) {
  const { key, label, hint, min, max, step } = setting
  return (
    <label class="field">
      <span>{label}</span>
      <input
        type="number"
        min={min}
        max={max}
        step={step}
        value={sampling.value[key] ?? ""}
        placeholder={recommended(setting)}
        onInput={({ currentTarget }) => {
          const { valid } = currentTarget.validity
          currentTarget.setAttribute("aria-invalid", String(!valid))
          if (!valid) return // what was set before holds
          const { [key]: _, ...others } = sampling.value
          sampling.value = currentTarget.value === "" ? others : { ...others, [key]: currentTarget.valueAsNumber }
        }}
      />
      <small>{hint}</small>
    </label>
  )
}

/** What an empty field means with the model that is there. */
function recommended({ key, fallback }: NumberSetting): string {
  if (key === "seed" || key === "maxTokens") return fallback
  const defaults = readyModel.value?.generationConfig
  const own = defaults?.[key]
  if (key === "temperature") return defaults?.doSample ? String(own ?? 1) : fallback
  return own === undefined ? fallback : String(own)
}
