// Serves a model over HTTP and has several clients ask at once, and appends a row to bench/results/serve.jsonl: tokens per second in
// all, and how long each waits for its first. Usage:
//   npm run bench:serve -- [--device auto|gpu|software|lavapipe|swiftshader] [--parallel 1,4,8] [--clients 1,4,8] [--rounds 5]
import { parseArgs } from "node:util"
import { type DeviceKind, load } from "../src/index.ts"
import { createServer } from "../src/serve/index.ts"
import { inTurn, spread } from "../test/helpers/decode_timing.ts"
import { circumstances, record } from "./row.ts"

const { values } = parseArgs({
  options: {
    device: { type: "string", default: "auto" },
    parallel: { type: "string", default: "1,4,8" },
    clients: { type: "string", default: "1,4,8" },
    rounds: { type: "string", default: "5" },
  },
})
const device = values.device as DeviceKind
const rounds = Number(values.rounds)
const parallels = values.parallel.split(",").map(Number)
const clients = values.clients.split(",").map(Number)
const MAX_TOKENS = 64

let asked = 0 // each prompt begins anew, or what was computed of the one before would be used again

/** Asks for an answer as a stream. */
async function ask(url: string): Promise<{ tokens: number; firstMs: number }> {
  const began = performance.now()
  const prompt = `${1000 + asked} children went to the sea. Once upon a time, there was`
  const body = { prompt, seed: asked++, temperature: 1, max_tokens: MAX_TOKENS, stream: true }
  const options = { stream_options: { include_usage: true } }
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    body: JSON.stringify({ ...body, ...options }),
  })
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`)
  let firstMs: number | undefined
  let text = ""
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    firstMs ??= performance.now() - began
    text += chunk
  }
  const events = text.split("\n\n").filter((event) => event.startsWith("data: {"))
  return { tokens: JSON.parse(events.at(-1)!.slice(6)).usage.completion_tokens, firstMs: firstMs! }
}

const served = await Promise.all(
  parallels.map(async (sequences) => {
    const lm = await load(undefined, { device, context: 1024, sequences })
    return { lm, server: await createServer(lm, { port: 0 }) }
  }),
)
const measures = served.flatMap(({ lm, server }) =>
  clients.map((count) => ({ parallel: lm.sequences, clients: count, url: server.url, firstMs: [] as number[] })),
)
const measured = await inTurn(
  measures.map(({ url, clients, firstMs }) => async () => {
    const began = performance.now()
    const answers = await Promise.all(Array.from({ length: clients }, () => ask(url)))
    firstMs.push(...answers.map((answer) => answer.firstMs))
    return (answers.reduce((sum, { tokens }) => sum + tokens, 0) * 1000) / (performance.now() - began)
  }),
  rounds,
)
const { lm } = served[0]!
const row = {
  ...circumstances(lm.device),
  model: "storyteller",
  context: lm.context,
  maxTokens: MAX_TOKENS,
  cacheBytes: Object.fromEntries(served.map(({ lm }) => [lm.sequences, lm.memory.cache])),
  served: measures.map(({ parallel, clients, firstMs }, i) => {
    const first = spread(firstMs.slice(clients)) // the first turn warmed up
    return { parallel, clients, tokensPerSecond: measured[i], firstTokenMs: first }
  }),
}
for (const { lm, server } of served) {
  await server.close()
  await lm.dispose()
}
await record("serve", row)
