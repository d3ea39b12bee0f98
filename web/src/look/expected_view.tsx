import { formatCount } from "../ui/format.ts"
import { type Look, shown } from "./look.ts"
import { formatNats, formatShare } from "./numbers.ts"

/** What the model expected where the shown token is, and how likely that one was. */
export function ExpectedView({ look: { predictions, names } }: { readonly look: Look }) {
  const { tokens, top, ids, topLogProbs, entropy } = predictions
  const t = Math.min(shown.value, tokens.length)
  const came = tokens[t]
  const title = came === undefined ? "Next" : `Token ${formatCount(t)}: ${names.get(came)}`
  if (t === 0) {
    return (
      <section class="expected" aria-label="What the model expected">
        <h3>{title}</h3>
        <p class="quiet">It is given: the model reads it first, and expects nothing before.</p>
      </section>
    )
  }
  const rows = [...ids.subarray((t - 1) * top, t * top)]
  return (
    <section class="expected" aria-label="What the model expected">
      <h3>{title}</h3>
      <p>{came === undefined ? "It comes after the last token." : <Came predictions={predictions} t={t} />}</p>
      <table>
        <caption class="quiet">Expected here, with an entropy of {formatNats(entropy[t - 1]!)} nats</caption>
        <thead>
          <tr>
            <th scope="col">Rank</th>
            <th scope="col">Token</th>
            <th scope="col">Probability</th>
            <th scope="col">Log-probability</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((id, k) => {
            const logProb = topLogProbs[(t - 1) * top + k]!
            return (
              <tr key={id} class={id === came ? "came" : undefined}>
                <td>{k + 1}</td>
                <th scope="row">
                  <code>{names.get(id)}</code>
                  {id === came && <span class="badge">came</span>}
                </th>
                <td>{formatShare(Math.exp(logProb))}</td>
                <td>{formatNats(logProb)}</td>
              </tr>
            )
          })}
        </tbody>
      </table>
    </section>
  )
}

function Came({ predictions, t }: Pick<Look, "predictions"> & { readonly t: number }) {
  const { logProbs, ranks } = predictions
  const logProb = logProbs[t - 1]!
  return (
    <>
      It had a probability of <b>{formatShare(Math.exp(logProb))}</b>, rank <b>{formatCount(ranks[t - 1]!)}</b>; its
      loss is <b>{formatNats(-logProb)}</b> nats.
    </>
  )
}
