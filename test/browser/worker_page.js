// Drives the engine through its Worker, under a policy that allows scripts of this server alone. `/resolved` is the package as a
// development server gives it: with the names of packages made addresses, as import maps do not hold in Workers.
import { Engine, load, open, quantize, terminate, tune, WorkerError } from "/resolved/dist/src/worker/index.js"

async function run() {
  const [{ greedyIds, maxTokens }] = (await (await fetch("/jobs")).json()).slice(-1)
  const phases = new Set()
  const lm = await load(undefined, { context: 512, onProgress: ({ phase }) => phases.add(phase) })
  const answer = lm.generate(greedyIds, { temperature: 0, maxTokens, ignoreEos: true })
  let longest = 0 // between two turns of the page's own loop, while the model answers
  let last = performance.now()
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last)
    last = performance.now()
  }, 10)
  const pieces = []
  for await (const { text } of answer) pieces.push(text)
  clearInterval(timer)
  const { data } = await lm.logits(greedyIds, { last: 1 })
  const losses = await train(lm)
  await lm.dispose()
  const files = await convert()
  return {
    tokens: answer.tokens,
    text: answer.text,
    pieces: pieces.length,
    logits: data.length,
    phases: [...phases],
    longest,
    losses,
    ...files,
    bytesLeft: lm.memory.total,
    death: await death(),
    shared: await shared(),
  }
}

// Three steps, whose files go into the origin's private file system.
async function train(lm) {
  const data = Array.from({ length: 8 }, () => ({ text: "The fox sang to the moon, and the moon sang to the fox." }))
  const tuning = tune(lm, data, {
    rank: 4,
    steps: 3,
    warmup: 0,
    rate: 1e-2,
    batch: 1,
    context: 32,
    store: "gemlet/run",
  })
  const losses = []
  for await (const { loss } of tuning) losses.push(loss)
  await tuning.dispose()
  return losses
}

// Half-size weights, written into a folder that is then loaded by its handle, with the adapter that was saved.
async function convert() {
  const root = await navigator.storage.getDirectory()
  const folder = await root.getDirectoryHandle("small", { create: true })
  await quantize("/test/fixtures/goldens/tiny-gemma2", folder, { dtype: "q8" })
  const names = []
  for await (const name of folder.keys()) names.push(name)
  const checkpoint = await open(folder)
  const { weights } = await checkpoint.loadBytes({ context: 32 })
  await checkpoint.close()
  const lm = await load(folder, { context: 32 })
  const held = lm.memory.weights
  await lm.dispose()
  const run = await (await root.getDirectoryHandle("gemlet")).getDirectoryHandle("run")
  const story = await load(undefined, { context: 32 })
  await story.loadAdapter(run)
  const adapters = story.adapters.map(({ name, on }) => `${name} ${on}`)
  await story.dispose()
  return { names, weights, held, adapters }
}

// A Worker that is ended fails what it was asked for, and the next load gets another.
async function death() {
  const lm = await load(undefined, { context: 64 })
  const answering = lm.score("Once upon a time").then(String, (error) => error instanceof WorkerError && error.kind)
  terminate()
  const again = await load(undefined, { context: 64 })
  await again.dispose()
  return answering
}

// An engine that several pages may have at once.
async function shared() {
  const worker = new SharedWorker("/resolved/dist/src/worker/script.js", { type: "module" })
  const engine = new Engine(worker.port)
  const lm = await engine.load(undefined, { context: 64 })
  const { tokens } = await lm.score("Once upon a time")
  engine.terminate()
  return tokens.length
}

const send = (results) => fetch("/results/worker", { method: "POST", body: JSON.stringify(results) })
run().then(send, (error) => send({ error: String(error?.stack ?? error) }))
