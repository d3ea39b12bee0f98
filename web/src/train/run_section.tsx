import { useMemo } from "preact/hooks"
import { type ActiveRun, activeRun } from "../state/store.ts"
import type { Adapter, RunOptions, TrainingRun } from "../storage/adapter.ts"
import { Chart } from "../ui/chart.tsx"
import { meanOfNeighbours } from "../ui/chart_scale.ts"
import { formatBytes, formatCount, formatRate, formatSeconds } from "../ui/format.ts"
import { RunState } from "./run_state.tsx"

/** An adapter's run: how it is with it, its losses, and what can be done. */
export function RunSection({ adapter }: { readonly adapter: Adapter }) {
  const { run, id } = adapter
  const active = activeRun.value?.id === id ? activeRun.value : undefined
  if (!run) return null
  const curve = active && active.curve.value.length > 0 ? active.curve.value : run.curve
  return (
    <section aria-labelledby="run">
      <h2 id="run">Training</h2>
      <p class="quiet">{describe(run)}</p>
      <RunState id={id} run={run} active={active} />
      {active && <Live active={active} />}
      <LossChart curve={curve} />
      <HeldOut curve={curve} />
    </section>
  )
}

function describe({ options, settings, records }: TrainingRun): string {
  const { method, rank, steps, batch, context, seed, recompute }: RunOptions = options
  const rate = options.rate ?? settings?.rate
  const parts = [
    `${method === "lora" ? "LoRA" : "LaMDA"} of rank ${rank}`,
    `${formatCount(steps)} steps of ${batch} rows with ${formatCount(context)} tokens`,
    `${formatCount(records)} examples`,
    ...(rate === undefined ? [] : [`learning rate ${rate}`]),
    `seed ${seed}`,
    ...(recompute ? ["with recomputation"] : []),
  ]
  return parts.join(", ")
}

/** What changes from step to step. */
function Live({ active }: { readonly active: ActiveRun }) {
  const { value } = active.last
  if (!value) return <p class="live-run quiet">The first step comes; shaders are compiled before it.</p>
  const { step, steps, loss, tokensPerSecond, secondsLeft, memory } = value
  return (
    <div class="live-run">
      <progress aria-label={`Training of ${active.name}`} max={steps} value={step} />
      <p>
        <b>
          Step {formatCount(step)} of {formatCount(steps)}
        </b>
        {loss !== undefined && <span>loss {loss.toFixed(3)}</span>}
        {step > 0 && <span>{formatRate(tokensPerSecond)}</span>}
        {step > 0 && <span>{formatSeconds(secondsLeft)} left</span>}
        <span>{formatBytes(memory)} of GPU memory</span>
      </p>
    </div>
  )
}

function LossChart({ curve }: { readonly curve: TrainingRun["curve"] }) {
  const series = useMemo(() => {
    const training = curve.flatMap(({ step, loss }) => (loss === undefined ? [] : [{ x: step, y: loss }]))
    const heldOut = curve.flatMap(({ step, heldOut }) => (heldOut === undefined ? [] : [{ x: step, y: heldOut }]))
    return [
      { name: "training", points: training, style: "thin" },
      { name: "its mean", points: meanOfNeighbours(training), style: "bold" },
      ...(heldOut.length > 0 ? [{ name: "held-out", points: heldOut, style: "marks" } as const] : []),
    ] as const
  }, [curve])
  return <Chart label="Loss by step" series={series} x="linear" xLabel="step" yLabel="loss, nats per token" />
}

/** The measurements as numbers. */
function HeldOut({ curve }: { readonly curve: TrainingRun["curve"] }) {
  const measured = curve.filter(({ heldOut }) => heldOut !== undefined)
  if (measured.length === 0) return null
  return (
    <details>
      <summary>Losses on held-out examples</summary>
      <div class="wide">
        <table>
          <thead>
            <tr>
              <th scope="col">After step</th>
              <th scope="col">Nats per token</th>
            </tr>
          </thead>
          <tbody>
            {measured.map(({ step, heldOut }) => (
              <tr key={step}>
                <th scope="row">{formatCount(step)}</th>
                <td>{heldOut?.toFixed(4)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  )
}
