import { useMemo } from "preact/hooks"
import { Chart, type Series } from "../ui/chart.tsx"
import { meanOfNeighbours } from "../ui/chart_scale.ts"
import { formatCount } from "../ui/format.ts"
import type { Look } from "./look.ts"
import { formatNats } from "./numbers.ts"

/** How the loss falls as more of the text is known, and what it is in all. */
export function LossView({ look: { predictions, bytes } }: { readonly look: Look }) {
  const { tokens, logProbs } = predictions
  const series = useMemo<Series[]>(() => {
    const points = Array.from(logProbs, (logProb, i) => ({ x: i + 1, y: -logProb }))
    return [
      { name: "each token", points, style: "thin" },
      { name: "mean of its neighbours", points: meanOfNeighbours(points), style: "bold" },
    ]
  }, [logProbs])
  if (logProbs.length === 0) return null
  const total = -logProbs.reduce((sum, logProb) => sum + logProb, 0)
  const mean = total / logProbs.length
  const numbers = [
    ["Tokens", formatCount(tokens.length)],
    ["Mean loss", `${formatNats(mean)} nats`],
    ["Perplexity", formatNats(Math.exp(mean))],
    ...(bytes ? [["Bits per byte", formatNats(total / Math.LN2 / bytes)] as const] : []),
  ] as const
  return (
    <section aria-labelledby="loss">
      <h2 id="loss">Loss by position</h2>
      <Chart label="Loss by position" series={series} x="log" xLabel="position" yLabel="loss (nats)" />
      <table class="sums">
        <tbody>
          {numbers.map(([name, value]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}
