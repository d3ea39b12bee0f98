import { useSignal } from "@preact/signals"
import { useEffect, useMemo, useRef } from "preact/hooks"
import {
  drawable,
  extremes,
  nearest,
  niceScale,
  type Point,
  type Scale,
  type ScaleKind,
  scaleOf,
  ticksOf,
} from "./chart_scale.ts"

export interface Series {
  readonly name: string
  /** Those that are not finite, or not above 0 on a log scale, are left out. */
  readonly points: readonly Point[]
  /** A thin line, a bold one over it, or a line with a mark at each point. */
  readonly style: "thin" | "bold" | "marks"
}

export interface ChartProps {
  /** What it shows: the beginning of what a screen reader says, which goes on with each series' numbers. */
  readonly label: string
  readonly series: readonly Series[]
  readonly x: ScaleKind
  readonly xLabel: string
  readonly yLabel: string
}

/** In pixels, with room for the ticks' numbers. */
const HEIGHT = 260
const BOX = { left: 52, right: 12, top: 12, bottom: 40 }
const MARK = 3.5

/** A chart of lines, with a read-out of the points under the pointer. */
export function Chart({ label, series, x: kind, xLabel, yLabel }: ChartProps) {
  const figure = useRef<HTMLElement>(null)
  const width = useWidth(figure)
  const pointed = useSignal<number | undefined>(undefined)
  const drawn = useMemo(() => series.map((each) => ({ ...each, points: drawable(each.points, kind) })), [series, kind])
  const { x, y } = useMemo(() => scalesOf(drawn, kind, width), [drawn, kind, width])
  const read = pointed.value === undefined ? [] : readOut(drawn, x, pointed.value)
  const point = ({ clientX, currentTarget }: PointerEvent) => {
    pointed.value = clientX - (currentTarget as Element).getBoundingClientRect().left
  }
  return (
    <figure class="chart" ref={figure}>
      <svg
        role="img"
        aria-label={[label, ...drawn.map(said)].join("; ")}
        width={width}
        height={HEIGHT}
        onPointerMove={point}
        onPointerDown={point}
        onPointerLeave={() => {
          pointed.value = undefined
        }}
      >
        <Axes x={x} y={y} width={width} xLabel={xLabel} yLabel={yLabel} />
        {read[0] && <line class="pointed" x1={x.at(read[0].x)} x2={x.at(read[0].x)} y1={BOX.top} y2={y.at(y.from)} />}
        {drawn.map((each) => (
          <Line key={each.name} series={each} x={x} y={y} />
        ))}
        {read.map(({ name, style, ...at }) => (
          <circle key={name} class={style} cx={x.at(at.x)} cy={y.at(at.y)} r={MARK + 1} />
        ))}
      </svg>
      <figcaption>
        {drawn.map(({ name, style, points }) => {
          const value = read.length > 0 ? read.find((each) => each.name === name) : points.at(-1)
          return (
            <span key={name}>
              <i class={style} /> {name} {value && <b>{formatNumber(value.y)}</b>}
            </span>
          )
        })}
        <span class="quiet">{read[0] && `at ${xLabel} ${read[0].x.toLocaleString("en")}`}</span>
      </figcaption>
    </figure>
  )
}

function Axes({ x, y, width, xLabel, yLabel }: Pick<ChartProps, "xLabel" | "yLabel"> & Places & { width: number }) {
  const [bottom, right] = [y.at(y.from), width - BOX.right]
  const columns = ticksOf(x, width / 80).filter((value) => x.kind === "log" || Number.isInteger(value))
  return (
    <g>
      {ticksOf(y, 5).map((value) => (
        <g key={value} class="tick">
          <line x1={BOX.left} x2={right} y1={y.at(value)} y2={y.at(value)} />
          <text x={BOX.left - 8} y={y.at(value) + 4} text-anchor="end">
            {formatNumber(value)}
          </text>
        </g>
      ))}
      {columns.map((value) => (
        <text key={value} class="tick" x={x.at(value)} y={bottom + 16} text-anchor="middle">
          {value.toLocaleString("en")}
        </text>
      ))}
      <text x={(BOX.left + right) / 2} y={HEIGHT - 6} text-anchor="middle">
        {xLabel}
      </text>
      <text transform={`translate(12 ${bottom / 2}) rotate(-90)`} text-anchor="middle">
        {yLabel}
      </text>
    </g>
  )
}

function Line({ series: { points, style }, x, y }: Places & { readonly series: Series }) {
  const shown = style === "marks" ? points : extremes(points, x)
  const places = shown.map((point) => `${x.at(point.x).toFixed(1)},${y.at(point.y).toFixed(1)}`)
  const isMarked = style === "marks" || points.length === 1
  return (
    <g class={style}>
      {places.length > 0 && <path d={`M${places.join("L")}`} />}
      {isMarked && shown.map((point) => <circle key={point.x} cx={x.at(point.x)} cy={y.at(point.y)} r={MARK} />)}
    </g>
  )
}

interface Places {
  readonly x: Scale
  readonly y: Scale
}

function scalesOf(series: readonly Series[], kind: ScaleKind, width: number): Places {
  const points = series.flatMap((each) => each.points)
  const across = points.map(({ x }) => x)
  const down = points.map(({ y }) => y)
  return {
    x: scaleOf(kind, across, [BOX.left, width - BOX.right]),
    y: niceScale(down, [HEIGHT - BOX.bottom, BOX.top], 5),
  }
}

/** Of each series the point at the place that is pointed at, if there is one just there. */
function readOut(series: readonly Series[], x: Scale, pixel: number): (Point & Omit<Series, "points">)[] {
  const found = series.flatMap(({ name, style, points }) => {
    const point = nearest(points, x, pixel)
    return point ? [{ ...point, name, style }] : []
  })
  const first = nearest(found, x, pixel)
  return found.filter((each) => each.x === first!.x)
}

function said({ name, points }: Series): string {
  const [first, last] = [points[0], points.at(-1)]
  if (!first || !last) return `${name}: nothing yet`
  if (points.length === 1) return `${name}: ${formatNumber(first.y)} at ${first.x}`
  return `${name}: from ${formatNumber(first.y)} at ${first.x} to ${formatNumber(last.y)} at ${last.x}`
}

/** Three digits behind the first are as many as mean something. */
function formatNumber(value: number): string {
  return String(Number(value.toPrecision(4)))
}

/** How wide the page lets it be. */
function useWidth(element: { readonly current: HTMLElement | null }): number {
  const width = useSignal(600)
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => {
      width.value = Math.max(200, Math.floor(entry!.contentRect.width))
    })
    observer.observe(element.current!)
    return () => observer.disconnect()
  }, [element, width])
  return width.value
}
