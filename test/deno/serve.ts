// Serves the built package under Deno and asks it over a socket: whole, streamed, left in mid-answer, closed.
//   deno run -A test/deno/serve.ts
const root = new URL("../../", import.meta.url)
const { load } = (await import(new URL("dist/src/index.js", root).href)) as typeof import("../../src/index.ts")
const { createServer } = (await import(
  new URL("dist/src/serve/index.js", root).href
)) as typeof import("../../src/serve/index.ts")
let failures = 0

function check(what: string, ok: boolean, detail = ""): void {
  process.stdout.write(`${what}: ${ok ? "ok" : "FAILED"} ${detail}\n`)
  if (!ok) failures++
}

const lm = await load(undefined, { context: 256 })
const generation = lm.generate("Once upon a time", { seed: 3, maxTokens: 20 })
for await (const _ of generation);

const server = await createServer(lm, { port: 0, apiKey: "secret", maxBodyBytes: 10_000 })
const ask = (body: object, signal?: AbortSignal, key = "secret") =>
  fetch(`${server.url}/v1/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}` },
    body: JSON.stringify({ prompt: "Once upon a time", seed: 3, max_tokens: 20, ...body }),
    signal,
  })
const running = async () => (await (await fetch(`${server.url}/health`)).json()).running as number

const whole = await (await ask({})).json()
check("an answer as generate gives it", whole.choices[0].text === generation.text)
let streamed = ""
for await (const chunk of (await ask({ stream: true })).body!.pipeThrough(new TextDecoderStream())) streamed += chunk
const pieces = [...streamed.matchAll(/^data: (\{.*)$/gm)].map(([, json]) => JSON.parse(json!).choices[0].text)
check("the same in a stream", pieces.join("") === generation.text && streamed.endsWith("data: [DONE]\n\n"))
check("a wrong key", (await (await ask({}, undefined, "wrong")).json()).error.code === "invalid_api_key")
check("a large body", (await (await ask({ prompt: "x".repeat(20_000) })).json()).error.code === "body_too_large")

for (const stream of [true, false]) {
  const controller = new AbortController()
  const answer = ask({ max_tokens: 200, n: 8, temperature: 1.5, stream }, controller.signal)
  answer.catch(() => {})
  while ((await running()) === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  const began = performance.now()
  controller.abort()
  while ((await running()) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  const ms = performance.now() - began
  check(
    `a client that leaves ${stream ? "a stream" : "before its answer"} frees its place`,
    ms < 2000,
    `(${ms.toFixed(0)} ms)`,
  )
}

const cut = ask({ max_tokens: 200, n: 8, temperature: 1.5 })
while ((await running()) === 0) await new Promise((resolve) => setTimeout(resolve, 5))
const [answer] = await Promise.all([cut, server.close(200)])
check("an answer that closing cuts", (await answer.json()).choices[7].finish_reason === "length")
await lm.dispose()

process.stdout.write(`${failures} failed\n`)
process.exit(failures > 0 ? 1 : 0)
