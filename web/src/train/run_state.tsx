import { useSignal } from "@preact/signals"
import type { ComponentChildren } from "preact"
import { type ActiveRun, model } from "../state/store.ts"
import type { TrainingRun } from "../storage/adapter.ts"
import { formatCount } from "../ui/format.ts"
import { useRunElsewhere } from "./run_lock.ts"
import { pauseRun, restartRun, resumeRun } from "./runs.ts"

interface Props {
  readonly id: string
  readonly run: TrainingRun
  /** Where it is underway in this tab. */
  readonly active: ActiveRun | undefined
}

const PHASES: Record<ActiveRun["phase"]["value"], string> = {
  weighing: "Preparing the run.",
  weighed: "Preparing the run.",
  training: "It is being trained. The page can be used meanwhile; the model answers again when it is paused or done.",
  stopping: "It ends the step under way and saves it.",
}

/** How it is with a run, in words, and the way on. */
export function RunState({ id, run, active }: Props) {
  const { status, step, trouble } = run
  const elsewhere = useRunElsewhere(id, active !== undefined, status)
  const at = `step ${formatCount(step)} of ${formatCount(run.options.steps)}`
  if (active) {
    return (
      <>
        <p role="status">{PHASES[active.phase.value]}</p>
        <div class="actions">
          <button type="button" disabled={active.phase.value !== "training"} onClick={() => void pauseRun()}>
            Pause
          </button>
        </div>
      </>
    )
  }
  if (elsewhere) return <p role="status">It is being trained in another tab; {at} is saved.</p>
  if (status === "done") return <p role="status">It is done: {formatCount(step)} steps.</p>
  if (status === "failed") {
    return (
      <div role="alert">
        <p class="trouble">{trouble}</p>
        <p>{step > 0 ? `What was learnt up to ${at} is kept.` : "Nothing was saved yet."}</p>
        <Ways>
          <Way
            label={model.value.kind === "failed" ? "Bring the model back and go on" : "Go on"}
            work={() => resumeRun(id)}
          />
          {step > 0 && <Way label="Begin again" work={() => restartRun(id)} />}
        </Ways>
      </div>
    )
  }
  return (
    <>
      <p role="status">
        {status === "paused" ? `It is paused at ${at}.` : elsewhere === false && `It was interrupted; ${at} is saved.`}
      </p>
      <Ways>
        <Way label="Go on" work={() => resumeRun(id)} />
      </Ways>
    </>
  )
}

function Ways({ children }: { readonly children: ComponentChildren }) {
  return <div class="actions">{children}</div>
}

/** A button for what takes a while to begin: a model may have to be loaded. */
function Way({ label, work }: { readonly label: string; readonly work: () => Promise<void> }) {
  const busy = useSignal(false)
  return (
    <button
      type="button"
      class={label === "Begin again" ? "" : "primary"}
      disabled={busy.value}
      onClick={() => {
        busy.value = true
        void work().finally(() => {
          busy.value = false
        })
      }}
    >
      {label}
    </button>
  )
}
