import { signal, useSignalEffect } from "@preact/signals"
import { useMemo, useRef } from "preact/hooks"
import { attention, rowOf } from "./attention.ts"
import { chosen, type Look, pointed, shown } from "./look.ts"

type Colour = "loss" | "attention"

const colour = signal<Colour>("loss")
/** A loss that is coloured in full, in nats: the token was given one part in three thousand. */
const FULL = 8
/** Tokens that Up and Down go by. */
const STRIDE = 10
const STEPS: Readonly<Record<string, number>> = {
  ArrowLeft: -1,
  ArrowRight: 1,
  ArrowUp: -STRIDE,
  ArrowDown: STRIDE,
  Home: Number.NEGATIVE_INFINITY,
  End: Number.POSITIVE_INFINITY,
}

/** The text as tokens. One of them is chosen, by keys or by a click; the one under the pointer is shown in its place. */
export function TokensView({ look: { predictions, names } }: { readonly look: Look }) {
  const list = useRef<HTMLDivElement>(null)
  const { tokens, logProbs } = predictions
  useChosen(list)
  useColours(list, logProbs)
  // Its elements stay as they are, however often the one that is shown changes.
  const items = useMemo(
    () => [
      ...tokens.map((id, t) => {
        const name = names.get(id)!
        const told = t === 0 ? "given" : `loss ${(-logProbs[t - 1]!).toFixed(2)}`
        return <Token key={t} t={t} name={name} told={told} />
      }),
      <Token key={tokens.length} t={tokens.length} name="…" told="what comes next" />,
    ],
    [tokens, logProbs, names],
  )
  return (
    <section aria-labelledby="tokens">
      <div class="head">
        <h2 id="tokens">The text as tokens</h2>
        <ColourSwitch />
      </div>
      <div
        ref={list}
        class="tokens"
        role="listbox"
        aria-labelledby="tokens"
        tabIndex={0}
        onKeyDown={(event) => {
          const step = STEPS[event.key]
          if (step === undefined) return
          event.preventDefault()
          pointed.value = undefined
          chosen.value = Math.max(0, Math.min(tokens.length, chosen.value + step))
        }}
        onPointerOver={({ target }) => {
          pointed.value = tokenAt(target)
        }}
        onPointerLeave={() => {
          pointed.value = undefined
        }}
        onClick={({ target }) => {
          chosen.value = tokenAt(target) ?? chosen.value
        }}
      >
        {items}
      </div>
    </section>
  )
}

function Token({ t, name, told }: { readonly t: number; readonly name: string; readonly told: string }) {
  return (
    <>
      <span
        id={`token-${t}`}
        data-t={t}
        role="option"
        tabIndex={-1}
        aria-selected="false"
        aria-label={`${t}: ${name}, ${told}`}
      >
        {name}
      </span>
      {name.endsWith("⏎") && <br />}
    </>
  )
}

function ColourSwitch() {
  return (
    <label class="choice">
      Coloured by{" "}
      <select
        value={colour.value}
        onChange={({ currentTarget }) => {
          colour.value = currentTarget.value as Colour
        }}
      >
        <option value="loss">how surprising each was</option>
        <option value="attention">what the chosen one attends to</option>
      </select>
    </label>
  )
}

function tokenAt(target: EventTarget | null): number | undefined {
  const element = target instanceof Element ? target.closest<HTMLElement>("[data-t]") : null
  return element ? Number(element.dataset.t) : undefined
}

interface List {
  readonly current: HTMLElement | null
}

/** Marks the chosen token, and keeps it in sight. */
function useChosen(list: List): void {
  const marked = useRef<Element | null>(null)
  useSignalEffect(() => {
    const element = list.current!.querySelector(`#token-${chosen.value}`)
    marked.current?.setAttribute("aria-selected", "false")
    element?.setAttribute("aria-selected", "true")
    list.current!.setAttribute("aria-activedescendant", `token-${chosen.value}`)
    if (marked.current) element?.scrollIntoView({ block: "nearest" })
    marked.current = element
  })
}

/** Gives each token its share of the colour, from 0 to 1. */
function useColours(list: List, logProbs: Float32Array): void {
  useSignalEffect(() => {
    const share = colour.value === "loss" ? (t: number) => -(logProbs[t - 1] ?? 0) / FULL : attended()
    for (const element of list.current!.querySelectorAll<HTMLElement>("[data-t]")) {
      const value = Math.max(0, Math.min(1, share(Number(element.dataset.t))))
      element.style.setProperty("--share", value.toFixed(3))
    }
  })
}

/** Small weights are to be seen beside large ones: colours go by the root. */
function attended(): (t: number) => number {
  const { value } = attention
  if (value.kind !== "done") return () => 0
  const row = rowOf(value.attention, Math.min(shown.value, value.attention.T - 1))
  return (t) => Math.sqrt(row[t] ?? 0)
}
