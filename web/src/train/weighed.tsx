import { useLayoutEffect, useRef } from "preact/hooks"
import type { Preflight } from "../engine.ts"
import { activeRun, live } from "../state/store.ts"
import { formatBytes, formatCount } from "../ui/format.ts"
import { leaveWeighed, startRun, weighing } from "./runs.ts"

/** What a run will take of the GPU, before it does; and its start. */
export function Weighed() {
  const start = useRef<HTMLButtonElement>(null)
  const { value } = weighing
  const isWeighed = value?.kind === "weighed"
  useLayoutEffect(() => {
    if (isWeighed) start.current?.focus()
  }, [isWeighed])
  const made = activeRun.value?.prepared.value
  return (
    <div>
      <p role="status">
        {isWeighed
          ? `“${activeRun.value?.name}” will train ${formatCount(value.preflight.trained)} numbers.`
          : live.value
            ? "It waits for the answer that is being written."
            : `Preparing it…${made ? ` ${made.done} of ${made.of} layers` : ""}`}
      </p>
      {isWeighed && <MemoryTable preflight={value.preflight} />}
      <div class="actions">
        <button type="button" onClick={() => void leaveWeighed()}>
          Back
        </button>
        <button ref={start} type="button" class="primary" disabled={!isWeighed} onClick={() => void startRun()}>
          Start training
        </button>
      </div>
    </div>
  )
}

function MemoryTable({ preflight: { held, gradients, state, scratch, peak } }: { readonly preflight: Preflight }) {
  const rows = [
    ["The model, which is there", held],
    ["Gradients", gradients],
    ["The optimizer", state],
    ["A step's scratch memory", scratch],
    ["Together, at most", peak],
  ] as const
  return (
    <div class="wide">
      <table>
        <caption class="hidden">Memory of the GPU</caption>
        <tbody>
          {rows.map(([name, bytes]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{formatBytes(bytes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
