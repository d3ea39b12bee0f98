import { CHART_STYLE } from "./chart.ts"
import { SERIES } from "./color.ts"

/** The same runs' colours where it is dark. */
const DARK_SERIES = ["#58a9dc", "#f08b4b", "#3cc79a", "#e3a2c6", "#8ccdf2", "#f2c14e"]

const series = (colors: readonly string[]) =>
  colors
    .map((color, i) => {
      const drawn = [".line", ".fit", ".bar"].map((kind) => `.chart .s${i}${kind}`).join(", ")
      const filled = [".band", ".point"].map((kind) => `.chart .s${i}${kind}`).join(", ")
      return `${drawn} { stroke: ${color} } ${filled} { fill: ${color} } .pill.s${i} { border-color: ${color} }`
    })
    .join("\n")

const DARK_CHARTS = `
.chart text { fill: #9fb0c5 }
.chart .title { fill: #e8eef6 }
.chart .grid { stroke: #263244 }
.chart .axis { stroke: #53647a }
.chart .baseline { stroke: #8a9bb0 }
.chart .none { fill: #1d2736 }
.chart .none + text { fill: #9fb0c5 }
.chart .dark { fill: #000000 }
.chart .light { fill: #ffffff }`

/** The look of a report, light and dark, from a phone's width on. */
export const STYLE = `
:root { color-scheme: light dark; --page: #f6f8fb; --card: #ffffff; --ink: #0f172a; --soft: #475569; --edge: #dfe6ee;
  --link: #1d4ed8; --good: #0b5e3b; --good-back: #dcf5e7; --bad: #9b1c1c; --bad-back: #fde5e3; --mark: #ffe58a; --code: #f1f5f9 }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif }
main, header, footer { max-width: 1240px; margin: 0 auto; padding: 0 24px }
header { padding-top: 40px }
footer { padding-bottom: 56px; color: var(--soft) }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 6px }
h2 { font-size: 21px; letter-spacing: -0.01em; margin: 0 0 4px; overflow-wrap: anywhere }
h3 { font-size: 16px; margin: 0 0 8px }
h4 { font-size: 13px; margin: 18px 0 6px; color: var(--soft); font-weight: 600 }
p { margin: 0 0 10px; max-width: 80ch }
a { color: var(--link) }
.quiet { color: var(--soft); font-size: 13.5px }
.id { overflow-wrap: anywhere }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 14px; padding: 20px 22px; margin: 20px 0 }
.runs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 16px; margin: 22px 0 }
.runs .card { margin: 0 }
.runs h3 { display: flex; gap: 8px; align-items: center; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 14px; margin: 0; font-size: 13.5px }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
.verdict { font-size: 17px; margin: 0 0 12px; max-width: none }
.notes { border-left: 4px solid #d97706 }
.notes ul { margin: 0; padding-left: 18px; overflow-wrap: anywhere }
.scroll { overflow-x: auto; margin: 0 -22px; padding: 0 22px 4px }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; width: 100% }
th, td { padding: 7px 18px 7px 0; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--edge); white-space: nowrap }
th { color: var(--soft); font-weight: 600; vertical-align: bottom }
tbody tr:last-child td { border-bottom: 0 }
td small { color: var(--soft); font-size: 12.5px; display: block }
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; text-align: left }
.sort::after { content: " ↕"; content: " ↕" / ""; opacity: 0.45 }
[aria-sort="ascending"] .sort::after { content: " ↑"; content: " ↑" / ""; opacity: 1 }
[aria-sort="descending"] .sort::after { content: " ↓"; content: " ↓" / ""; opacity: 1 }
.link { color: var(--link); text-decoration: underline; text-underline-offset: 3px }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 10px 34px; align-items: center; margin: 14px 0 }
.pair > * { min-width: 0 }
.pair svg { max-width: 100%; min-width: 440px; height: auto }
.maps { display: flex; flex-wrap: wrap; gap: 18px; margin: 8px 0 14px }
figure { margin: 0; max-width: 100%; overflow-x: auto }
.cell { cursor: pointer }
.cell rect { stroke: transparent; stroke-width: 2 }
.cell:hover rect, .cell:focus-visible rect { stroke: var(--ink) }
.cell:focus { outline: none }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 3px }
.badge { border-radius: 999px; padding: 1px 9px; font-size: 12.5px; background: var(--code); color: var(--soft) }
.badge.better { background: var(--good-back); color: var(--good) }
.badge.worse { background: var(--bad-back); color: var(--bad) }
.pill { border: 1.5px solid var(--edge); border-radius: 999px; padding: 0 8px; font-size: 12.5px; font-variant-numeric: tabular-nums; color: var(--ink) }
summary { cursor: pointer }
dialog { border: 1px solid var(--edge); border-radius: 16px; background: var(--card); color: var(--ink); padding: 0; width: min(920px, 100vw);
  height: min(860px, 94vh); max-width: none; max-height: none }
dialog[open] { display: flex; flex-direction: column }
dialog::backdrop { background: rgb(8 15 30 / 0.55) }
.bar { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: center; padding: 16px 22px 12px; border-bottom: 1px solid var(--edge) }
.bar h3 { margin: 0; flex: 1 1 240px; overflow-wrap: anywhere }
.bar select { font: inherit; font-size: 13.5px; padding: 3px 6px; border-radius: 8px; border: 1px solid var(--edge); background: var(--card); color: var(--ink) }
.close { border: 1px solid var(--edge); border-radius: 8px; padding: 3px 12px }
.list { overflow-y: auto; padding: 6px 22px 22px; flex: 1 }
.instance { border-bottom: 1px solid var(--edge) }
.instance > summary { display: flex; flex-wrap: wrap; gap: 4px 8px; align-items: center; padding: 9px 0; list-style: none; font-size: 14px }
.instance > summary::-webkit-details-marker { display: none }
.instance > summary::before { content: "›"; color: var(--soft); width: 12px; transition: transform 0.12s }
.instance[open] > summary::before { transform: rotate(90deg) }
.instance > summary > span:first-of-type { flex: 1 1 200px }
.body { padding: 0 0 18px 20px }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; background: var(--code); border-radius: 10px; padding: 10px 13px;
  margin: 0 0 8px; max-height: 340px; overflow-y: auto; font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.refs { margin: 0; padding-left: 18px; font-size: 13.5px; overflow-wrap: anywhere; unicode-bidi: isolate }
.gap { display: block; text-align: center; color: var(--soft); font: 12px system-ui, sans-serif; border-top: 1px dashed var(--soft);
  border-bottom: 1px dashed var(--soft); margin: 8px 0; padding: 2px }
.trouble { color: var(--bad); overflow-wrap: anywhere }
mark { background: var(--mark); color: #1a1405; border-radius: 3px; padding: 0 1px }
${CHART_STYLE}
${series(SERIES)}
@media (max-width: 640px) {
  main, header, footer { padding-left: 14px; padding-right: 14px }
  header { padding-top: 24px }
  h1 { font-size: 25px }
  .card { padding: 16px 14px }
  .scroll { margin: 0 -14px; padding: 0 14px 4px }
  dialog { width: 100vw; height: 100dvh; border: 0; border-radius: 0 }
  .bar, .list { padding-left: 14px; padding-right: 14px }
  .body { padding-left: 0 }
}
@media (prefers-color-scheme: dark) {
  :root { --page: #0b111b; --card: #121a27; --ink: #e8eef6; --soft: #9fb0c5; --edge: #263244; --link: #8ab8ff;
    --good: #8fe3b5; --good-back: #11362a; --bad: #ffaba5; --bad-back: #43191b; --mark: #e6c34c; --code: #1a2433 }
${DARK_CHARTS}
${series(DARK_SERIES)}
}
@media print { .card { break-inside: avoid; border: 0; padding: 0 } button.link, .sort::after { display: none } }
`
