import { useSignal } from "@preact/signals"
import { useEffect, useRef } from "preact/hooks"
import { type Attention, pooled } from "./attention.ts"
import { chosen, pointed, shown } from "./look.ts"
import { formatShare } from "./numbers.ts"

/** Cells across: more cannot be told apart. */
const CELLS = 512
/** Of what is drawn; it is seen on light and on dark. */
const INK = [122, 112, 240] as const
const MOVES: Readonly<Record<string, readonly [query: number, key: number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
}

interface Props {
  readonly attention: Attention
  readonly window: number | null
  readonly nameOf: (t: number) => string
}

/** All weights of a head: a row for each query, a column for each key, and the edge of the window. */
export function AttentionMap({ attention, window, nameOf }: Props) {
  const { T, weights } = attention
  const canvas = useRef<HTMLCanvasElement>(null)
  const cell = useSignal<readonly [query: number, key: number] | undefined>(undefined)
  useEffect(() => draw(canvas.current!, attention), [attention])
  const cellAt = ({ clientX, clientY, currentTarget }: MouseEvent): readonly [number, number] => {
    const { left, top, width, height } = (currentTarget as Element).getBoundingClientRect()
    const at = (share: number) => Math.max(0, Math.min(T - 1, Math.floor(share * T)))
    return [at((clientY - top) / height), at((clientX - left) / width)]
  }
  const query = Math.min(shown.value, T - 1)
  const [q, k] = cell.value ?? [query, query]
  const move = ([down, right]: readonly [number, number]) => {
    const to = Math.max(0, Math.min(T - 1, q + down))
    cell.value = [to, Math.max(0, Math.min(to, k + right))]
    pointed.value = undefined
    chosen.value = to
  }
  return (
    <figure class="map">
      <button
        type="button"
        class="cells"
        aria-label="Attention of each token to those before it; arrow keys go from cell to cell"
        aria-describedby="cell"
        onPointerMove={(event) => {
          cell.value = cellAt(event)
        }}
        onPointerLeave={() => {
          cell.value = undefined
        }}
        onClick={(event) => {
          if (event.detail > 0) chosen.value = cellAt(event)[0] // by a pointer: a key has no place
        }}
        onKeyDown={(event) => {
          const step = MOVES[event.key]
          if (!step) return
          event.preventDefault()
          move(step)
        }}
      >
        <canvas ref={canvas} />
        <svg viewBox={`0 0 ${T} ${T}`} preserveAspectRatio="none" aria-hidden="true">
          <rect class="query" x="0" y={query} width={query + 1} height="1" />
          <path
            class="edge"
            d={`M1 0L${T} ${T - 1}${window !== null && window < T ? `M0 ${window}L${T - window} ${T}` : ""}`}
          />
        </svg>
      </button>
      <figcaption id="cell" class="quiet" aria-live="polite">
        {`Token ${q} “${nameOf(q)}” gives ${formatShare(weights[q * T + k]!)} of its attention to token ${k} “${nameOf(k)}”`}
      </figcaption>
    </figure>
  )
}

function draw(canvas: HTMLCanvasElement, attention: Attention): void {
  const cells = Math.min(CELLS, attention.T)
  canvas.width = cells
  canvas.height = cells
  const image = new ImageData(cells, cells)
  pooled(attention, cells).forEach((weight, i) => {
    image.data.set([...INK, 255 * Math.sqrt(weight)], 4 * i) // by the root, as small weights are to be seen too
  })
  canvas.getContext("2d")!.putImageData(image, 0, 0)
}
