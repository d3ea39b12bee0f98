import { type ScaleBand, type ScaleLogarithmic, scaleBand, scaleLog } from "d3-scale"
import type { Spread } from "../../test/helpers/decode_timing.ts"
import type { Figures, PeerResult, Row } from "./row.ts"

const WIDTH = 900
const TOP = 92
const BAR = 26
const BOTTOM = 58
const LEFT = 192
const RIGHT = 58
const BETWEEN = 70
const COLORS = ["#2563eb", "#ea580c", "#059669", "#7c3aed", "#ca8a04", "#475569"]

const STYLE = `
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #64748b; font-size: 12px }
.title { fill: #0f172a; font-size: 18px; font-weight: 600 }
.panel { fill: #334155; font-size: 14px; font-weight: 600 }
.name { fill: #334155 }
.tick, .value { font-variant-numeric: tabular-nums }
.grid line { stroke: #e8edf3 }
.whisker { stroke: #0f172a; stroke-opacity: 0.55 }`

interface Panel {
  readonly title: string
  readonly from: number
  readonly to: number
  readonly rate: (peer: PeerResult) => Spread | undefined
}

/** Tokens per second as bars, on scales of powers of ten: decoding after the shortest prompt, the longest prompt. */
export const chart = {
  /** Of the file beside the page: each adapter has its own. */
  nameOf({ device }: Row): string {
    return `peers_${/^\w+/.exec(device)?.[0].toLowerCase() ?? "adapter"}.svg`
  },

  draw(row: Row): string {
    const lengths = [...new Set(row.peers.flatMap(({ prompts }) => Object.keys(prompts)))].map(Number)
    const [shortest, longest] = [Math.min(...lengths), Math.max(...lengths)]
    const middle = (LEFT + WIDTH - RIGHT) / 2
    const figures = (peer: PeerResult, length: number): Figures | undefined => peer.prompts[length]
    const panels: Panel[] = [
      {
        title: `decoding after ${shortest} tokens`,
        from: LEFT,
        to: middle - BETWEEN / 2,
        rate: (peer) => figures(peer, shortest)?.decodeTokensPerSecond,
      },
      {
        title: `a prompt of ${longest} tokens`,
        from: middle + BETWEEN / 2,
        to: WIDTH - RIGHT,
        rate: (peer) => figures(peer, longest)?.prefillTokensPerSecond,
      },
    ]
    const bottom = TOP + BAR * row.peers.length
    const height = bottom + BOTTOM
    const y = scaleBand<number>(row.peers.keys(), [TOP, bottom]).padding(0.25)
    const title = `Tokens per second: ${row.model}`
    return [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escaped(title)}">`,
      `<style>${STYLE}\n</style>`,
      `<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="10" fill="#ffffff" stroke="#e2e8f0"/>`,
      `<text class="title" x="28" y="36">${escaped(title)}</text>`,
      `<text x="28" y="56">${escaped(row.device)}; bars are medians, lines reach from the least to the most</text>`,
      ...row.peers.map(
        ({ runtime, dtype, computesOn }, i) =>
          `<text class="name" x="${LEFT - 10}" y="${centre(y, i) + 4}" text-anchor="end">${escaped(computesOn === "WebGPU" ? `${runtime} ${dtype}` : `${runtime} ${dtype}, CPU`)}</text>`,
      ),
      ...panels.flatMap((panel) => drawPanel(row, panel, y, bottom)),
      "</svg>\n",
    ].join("\n")
  },
}

function drawPanel({ peers }: Row, { title, from, to, rate }: Panel, y: ScaleBand<number>, bottom: number): string[] {
  const spreads = peers.map(rate)
  const all = spreads.flatMap((spread) => (spread ? [spread.min, spread.max] : []))
  // Bars begin below the least, at a power of ten, so that the slowest has one too.
  const least = 10 ** (Math.ceil(Math.log10(Math.min(...all, 1))) - 1)
  const x = scaleLog([least, Math.max(...all, 10 * least)], [from, to]).nice()
  const colors = new Map(
    [...new Set(peers.map(({ runtime }) => runtime))].map((runtime, i) => [runtime, COLORS[i % 6]!]),
  )
  const ticks = x.ticks().filter((value) => Number.isInteger(Math.log10(value)))
  return [
    `<text class="panel" x="${from}" y="${TOP - 14}">${escaped(title)}</text>`,
    '<g class="grid">',
    ...ticks.map((value) => `<line x1="${at(x, value)}" x2="${at(x, value)}" y1="${TOP}" y2="${bottom}"/>`),
    "</g>",
    ...ticks.map(
      (value) =>
        `<text class="tick" x="${at(x, value)}" y="${bottom + 18}" text-anchor="middle">${Number(value.toPrecision(1))}</text>`,
    ),
    `<text x="${(from + to) / 2}" y="${bottom + 40}" text-anchor="middle">tokens per second</text>`,
    ...spreads.flatMap((spread, i) => {
      if (!spread)
        return [`<text x="${from + 6}" y="${centre(y, i) + 4}">${peers[i]!.error ? "failed" : "not run"}</text>`]
      return bar(spread, x, y, i, colors.get(peers[i]!.runtime)!)
    }),
  ]
}

function bar(
  { median, min, max }: Spread,
  x: ScaleLogarithmic<number, number>,
  y: ScaleBand<number>,
  i: number,
  color: string,
): string[] {
  const [from] = x.range() as [number]
  const middle = centre(y, i)
  return [
    `<rect x="${from}" y="${round(y(i)!)}" width="${round(x(median) - from)}" height="${round(y.bandwidth())}" rx="2" fill="${color}"/>`,
    `<line class="whisker" x1="${at(x, min)}" x2="${at(x, max)}" y1="${middle}" y2="${middle}"/>`,
    `<text class="value" x="${round(x(max)) + 6}" y="${middle + 4}">${Number(median.toPrecision(3))}</text>`,
  ]
}

function at(x: ScaleLogarithmic<number, number>, value: number): number {
  return round(x(value))
}

function centre(y: ScaleBand<number>, i: number): number {
  return round(y(i)! + y.bandwidth() / 2)
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;")
}
