import { useEffect } from "preact/hooks"
import { readyModel } from "../state/store.ts"
import { type Attention, ask, attention, head, headsOf, layersOf, rowOf } from "./attention.ts"
import { AttentionMap } from "./attention_map.tsx"
import { type Look, shown } from "./look.ts"
import { formatShare } from "./numbers.ts"

/** Keys that the table names. */
const STRONGEST = 8

/** What a head attends to. */
export function AttentionView({ look }: { readonly look: Look }) {
  const layers = layersOf(look.lm)
  const which = head.value
  const isHere = readyModel.value === look.lm
  const isThere = which.layer < layers.length && which.head < headsOf(look.lm)
  useEffect(() => {
    if (layers.length === 0) return
    if (!isThere)
      head.value = { layer: 0, head: 0 } // of a model that has more of them
    else if (isHere) void ask(look, which)
  }, [look, which, isThere, isHere, layers.length])
  if (layers.length === 0) {
    return (
      <section aria-labelledby="attention">
        <h2 id="attention">Attention</h2>
        <p class="quiet">This model has none: its layers are recurrences.</p>
      </section>
    )
  }
  const window = layers[which.layer]?.window ?? null
  return (
    <section aria-labelledby="attention">
      <h2 id="attention">Attention</h2>
      <div class="actions">
        <Pick label="Layer" count={layers.length} name={(i) => layerName(i, layers[i]!.window)} field="layer" />
        <Pick label="Head" count={headsOf(look.lm)} name={String} field="head" />
      </div>
      <p class="quiet">
        {window === null
          ? "A global layer: each token sees all before it, and itself."
          : `A local layer: each token sees a window of ${window}, itself included. The map shows its edge.`}
      </p>
      {!isHere && <p class="quiet">The model that was looked at is not loaded any more: look again.</p>}
      <Weights look={look} window={window} />
    </section>
  )
}

function layerName(i: number, window: number | null): string {
  return `${i}, ${window === null ? "global" : `local, window ${window}`}`
}

interface PickProps {
  readonly label: string
  readonly count: number
  readonly name: (i: number) => string
  readonly field: "layer" | "head"
}

function Pick({ label, count, name, field }: PickProps) {
  return (
    <label class="choice">
      {label}{" "}
      <select
        value={head.value[field]}
        onChange={({ currentTarget }) => {
          head.value = { ...head.value, [field]: Number(currentTarget.value) }
        }}
      >
        {Array.from({ length: count }, (_, i) => (
          <option key={i} value={i}>
            {name(i)}
          </option>
        ))}
      </select>
    </label>
  )
}

function Weights({ look, window }: { readonly look: Look; readonly window: number | null }) {
  const { value } = attention
  const { tokens } = look.predictions
  const nameOf = (t: number) => look.names.get(tokens[t]!)!
  if (value.kind === "failed") {
    return (
      <p class="trouble" role="alert">
        {value.trouble.title}. {value.trouble.text}
      </p>
    )
  }
  // Of another text, or another head, nothing is shown.
  if (value.kind !== "done" || value.attention.tokens !== tokens || value.attention.which !== head.value) {
    return (
      <p class="weights quiet" role="status">
        The weights are computed…
      </p>
    )
  }
  return (
    <div class="weights">
      <Strongest attention={value.attention} nameOf={nameOf} />
      <AttentionMap attention={value.attention} window={window} nameOf={nameOf} />
    </div>
  )
}

function Strongest({ attention, nameOf }: { readonly attention: Attention; readonly nameOf: (t: number) => string }) {
  const query = Math.min(shown.value, attention.T - 1)
  const row = rowOf(attention, query)
  const seen = Array.from({ length: query + 1 }, (_, t) => t).filter((t) => row[t]! > 0)
  const strongest = seen.sort((a, b) => row[b]! - row[a]!).slice(0, STRONGEST)
  return (
    <table class="strongest">
      <caption class="quiet">
        Token {query} “{nameOf(query)}” attends most to
      </caption>
      <thead>
        <tr>
          <th scope="col">Token</th>
          <th scope="col">Text</th>
          <th scope="col">Weight</th>
        </tr>
      </thead>
      <tbody>
        {strongest.map((t) => (
          <tr key={t}>
            <td>{t}</td>
            <th scope="row">
              <code>{nameOf(t)}</code>
            </th>
            <td>{formatShare(row[t]!)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}
