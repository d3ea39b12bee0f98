import { expect, test } from "vitest"
import { type LossPoint, lossCurveSvg } from "../../src/train/curve.ts"

const run = (count: number, loss: (i: number) => number): LossPoint[] =>
  Array.from({ length: count }, (_, i) => ({ step: i + 1, loss: loss(i) }))
const falling = (i: number) => 3 + 5 * Math.exp(-i / 40) + 0.3 * Math.sin(i * 1.7)

/** Coordinates of each path of lines, without the legend's. */
const paths = (svg: string) =>
  [...svg.matchAll(/<path d="(M[^"h]*)"/g)].map(([, d]) =>
    [...d!.matchAll(/(-?[\d.]+),(-?[\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)] as const),
  )
const circles = (svg: string) =>
  [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [x, y].map(Number))
const roughness = (path: readonly (readonly [number, number])[]) =>
  path.slice(2).reduce((sum, [, y], i) => sum + Math.abs(y - 2 * path[i + 1]![1] + path[i]![1]), 0)

/** Opened and closed in order, no bare `&` or `<`, and nothing that is not a number. */
function expectWellFormed(svg: string): void {
  const open: string[] = []
  for (const [, close, name, own] of svg.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
    if (close) expect(open.pop()).toBe(name)
    else if (!own) open.push(name!)
  }
  expect(open).toEqual([])
  expect(svg.replace(/<[^<>]*>/g, "")).not.toMatch(/[<>]|&(?!(amp|lt|gt|quot|#39);)/)
  expect(svg).not.toMatch(/NaN|Infinity|undefined|<script/)
}

test("lossCurveSvg draws training thin and smoothed, and held-out with its points", () => {
  const heldOut = [0, 100, 200, 300].map((step) => ({ step, loss: falling(step) + 0.2 }))
  const svg = lossCurveSvg({ title: "a run", training: run(300, falling), heldOut })
  expectWellFormed(svg)
  const [raw, smooth, held] = paths(svg)
  expect(roughness(smooth!)).toBeLessThan(roughness(raw!) / 4)
  expect(held).toHaveLength(4)
  expect(circles(svg).slice(1)).toEqual(held)
  for (const text of [">a run<", ">training<", ">held-out<", ">step<", ">loss, nats per token<", ">250<", ">0<"]) {
    expect(svg).toContain(text)
  }
})

test("lossCurveSvg puts points where its ticks say", () => {
  const svg = lossCurveSvg({
    title: "",
    heldOut: [
      { step: 0, loss: 1.3 },
      { step: 50, loss: 3 },
      { step: 100, loss: 2 },
    ],
  })
  const tick = (anchor: string, text: string) =>
    Number(new RegExp(`class="tick" ${anchor}="([\\d.]+)"[^>]*>${text}<`).exec(svg)?.[1])
  const column = tick("x", "50")
  const row = Number(/class="tick" x="[\d.]+" y="([\d.]+)"[^>]*>3\.0</.exec(svg)?.[1]) - 4
  expect(circles(svg)[2]).toEqual([column, row])
})

test("lossCurveSvg compares named runs and wraps its legend", () => {
  const others = Array.from({ length: 12 }, (_, i) => ({
    name: `a run with a long name, number ${i}`,
    points: run(i % 2 ? 10 : 100, (j) => falling(j) + i),
  }))
  const svg = lossCurveSvg({ title: "runs", others })
  expectWellFormed(svg)
  for (const { name } of others) expect(svg).toContain(`>${name}<`)
  expect(svg).not.toContain(">training<")
  const legend = [...svg.matchAll(/<text x="([\d.]+)" y="([\d.]+)"><tspan/g)].map(([, x, y]) => [Number(x), Number(y)])
  expect(legend).toHaveLength(12)
  expect(Math.max(...legend.map(([x]) => x!))).toBeLessThan(700)
  expect(Math.max(...legend.map(([, y]) => y!))).toBeLessThan(
    Math.min(
      ...paths(svg)
        .flat()
        .map(([, y]) => y),
    ),
  )
})

test.each<[string, Parameters<typeof lossCurveSvg>[0]]>([
  ["nothing", { title: "" }],
  ["one point", { title: "", training: [{ step: 7, loss: 2 }] }],
  ["one held-out point", { title: "", heldOut: [{ step: 0, loss: 0 }] }],
  ["a flat line", { title: "", training: run(30, () => 2) }],
  [
    "losses that are not finite",
    { title: "", training: run(30, (i) => [2, Number.NaN, 3, Number.POSITIVE_INFINITY][i % 4]!) },
  ],
  ["no finite loss", { title: "", training: run(3, () => Number.NaN) }],
])("lossCurveSvg draws %s inside its panel", (_, curve) => {
  const svg = lossCurveSvg(curve)
  expectWellFormed(svg)
  for (const [x, y] of paths(svg).flat()) {
    expect(x >= 72 && x <= 864 && y >= 60 && y <= 478, `${x}, ${y}`).toBe(true)
  }
  const shown = [...(curve.training ?? []), ...(curve.heldOut ?? [])].filter(({ loss }) => Number.isFinite(loss))
  expect(paths(svg).length > 0).toBe(shown.length > 0)
})

test("lossCurveSvg marks a single point", () => {
  expect(circles(lossCurveSvg({ title: "", training: [{ step: 7, loss: 2 }] }))).toHaveLength(1)
})

test("lossCurveSvg escapes what it is given", () => {
  const hostile = `</text><script>alert("1")</script> & 'x'\u0000\ud800`
  const svg = lossCurveSvg({ title: hostile, others: [{ name: hostile, points: run(2, falling) }] })
  expectWellFormed(svg)
  expect(svg).toContain("&lt;/text&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;x&#39;  <")
})

test("lossCurveSvg keeps a long run's file small, and its extremes", () => {
  const training = run(200_000, (i) => (i === 123_456 ? 9 : falling(i / 500)))
  const svg = lossCurveSvg({ title: "", training })
  expect(svg.length).toBeLessThan(60_000)
  const top = Math.min(...paths(svg)[0]!.map(([, y]) => y))
  const at = paths(svg)[0]!.find(([, y]) => y === top)![0]
  expect(Math.abs(at - (72 + (792 * 123_457) / 200_000))).toBeLessThan(1.5)
})
