import { useSignal } from "@preact/signals"
import { useEffect } from "preact/hooks"
import type { WorkerCheckpoint } from "../engine.ts"
import type { Choice } from "../state/store.ts"
import { troubleOf } from "../state/trouble.ts"
import { formatBytes, formatCount } from "../ui/format.ts"
import { type Found, forget, loadChosen } from "./choose.ts"

const DTYPES = [
  { dtype: "stored", label: "as stored" },
  { dtype: "q8", label: "8 bits" },
  { dtype: "q4", label: "4 bits" },
] as const
const MOST_CONTEXTS = [1024, 2048, 4096, 8192, 16384, 32768]
const DEFAULT_CONTEXT = 4096

interface Need {
  readonly dtype: (typeof DTYPES)[number]["dtype"]
  readonly label: string
  readonly weights: number
  readonly cache: number
  readonly total: number
}

/** What a model will need, before any of its weights is read; and how to have it. */
export function Preflight({
  checkpoint,
  found,
}: {
  readonly checkpoint: WorkerCheckpoint
  readonly found: Found["kind"]
}) {
  const { maxPositions } = checkpoint.config
  const contexts = [...new Set([...MOST_CONTEXTS.filter((n) => n < maxPositions), Math.min(maxPositions, 65536)])]
  const context = useSignal(contexts.findLast((n) => n <= DEFAULT_CONTEXT) ?? contexts[0]!)
  const small = useSignal(false)
  const keep = useSignal(found === "hub")
  const dtype = useSignal<Need["dtype"]>("stored")
  const cacheDtype = small.value ? "q8" : "f32"
  const { needs, problem } = useNeeds(checkpoint, context.value, cacheDtype)
  const options: Choice["options"] = { context: context.value, dtype: dtype.value, cacheDtype }
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        void loadChosen(options, keep.value)
      }}
    >
      <label class="field">
        <span>Context</span>
        <select
          value={context.value}
          onChange={(event) => {
            context.value = Number(event.currentTarget.value)
          }}
        >
          {contexts.map((n) => (
            <option key={n} value={n}>
              {formatCount(n)} positions
            </option>
          ))}
        </select>
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={small.value}
          onChange={(event) => {
            small.value = event.currentTarget.checked
          }}
        />
        Keys and values in 8 bits
      </label>
      <div class="wide">
        <table>
          <thead>
            <tr>
              {["Weights", "Their bytes", "Keys and values", "Together"].map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {needs.map((need) => (
              <tr key={need.dtype}>
                <th scope="row">
                  <label class="check">
                    <input
                      type="radio"
                      name="dtype"
                      value={need.dtype}
                      checked={dtype.value === need.dtype}
                      onChange={() => {
                        dtype.value = need.dtype
                      }}
                    />
                    {need.label}
                  </label>
                </th>
                <td>{formatBytes(need.weights)}</td>
                <td>{formatBytes(need.cache)}</td>
                <td>{formatBytes(need.total)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {problem && <p class="trouble">{problem}</p>}
      <Device />
      {found !== "kept" && (
        <label class="check">
          <input
            type="checkbox"
            checked={keep.value}
            onChange={(event) => {
              keep.value = event.currentTarget.checked
            }}
          />
          Keep it on this device
        </label>
      )}
      <div class="actions">
        <button type="button" onClick={() => void forget()}>
          Cancel
        </button>
        <button type="submit" class="primary" disabled={needs.length === 0}>
          {!keep.value ? "Load" : found === "hub" ? "Download and load" : "Keep and load"}
        </button>
      </div>
    </form>
  )
}

/** Of the device's memory a page learns no more than this. */
function Device() {
  const limits = useSignal<string | undefined>(undefined)
  useEffect(() => {
    void describeDevice().then((text) => {
      limits.value = text
    })
  }, [limits])
  return <p class="quiet">{limits.value}</p>
}

async function describeDevice(): Promise<string> {
  const adapter = await (navigator.gpu as GPU | undefined)?.requestAdapter().catch(() => null)
  if (!adapter) return "There is no WebGPU adapter here."
  const { deviceMemory } = navigator as { readonly deviceMemory?: number }
  const memory = deviceMemory === undefined ? "" : ` The device has ${deviceMemory} GiB of memory or more.`
  return (
    `A tensor may take ${formatBytes(adapter.limits.maxStorageBufferBindingSize)} on this GPU; how much memory it has, ` +
    `browsers do not tell.${memory} A step's scratch memory comes on top.`
  )
}

function useNeeds(checkpoint: WorkerCheckpoint, context: number, cacheDtype: "f32" | "q8") {
  const state = useSignal<{ readonly needs: readonly Need[]; readonly problem: string | undefined }>({
    needs: [],
    problem: undefined,
  })
  useEffect(() => {
    let wanted = true
    const ask = async () => {
      const needs: Need[] = []
      for (const { dtype, label } of DTYPES) {
        const { weights, cache, total } = await checkpoint.loadBytes({ context, dtype, cacheDtype })
        needs.push({ dtype, label, weights, cache, total })
      }
      return { needs, problem: undefined }
    }
    void ask()
      .catch((error: unknown) => ({ needs: [], problem: troubleOf(error).text }))
      .then((result) => {
        if (wanted) state.value = result
      })
    return () => {
      wanted = false
    }
  }, [checkpoint, context, cacheDtype, state])
  return state.value
}
