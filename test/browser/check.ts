// Runs the built package in headless Chromium, from its browser entry, and holds it to the goldens.
//   npm run test:browser        (CHROMIUM names the program, /usr/bin/chromium without it)
import { spawn } from "node:child_process"
import { createReadStream } from "node:fs"
import { mkdtemp, rm, stat } from "node:fs/promises"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { extname, join, normalize } from "node:path"
import { fileURLToPath } from "node:url"
import { golden } from "../helpers/golden.ts"

const root = fileURLToPath(new URL("../../", import.meta.url))
const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
}
const MAX_TOKENS = 48

interface Results {
  error?: string
  adapter: string
  models: Record<string, { logits: number[]; tokens: number[]; text: string; bytesLeft: number }>
  training: Training
  prefixes: Prefixes
}

/** Two answers to one prompt of 300 tokens, the second from what the first has saved. */
interface Prefixes {
  answers: { tokens: number[]; reused: number }[]
  reasons: string[]
}

interface Training {
  losses: number[]
  base: number[]
  trained: number[]
  without: number[]
  loaded: number[]
  files: string[]
  bytesLeft: number
}

const MODELS = [
  { name: "goldens/tiny-gemma2", url: "/test/fixtures/goldens/tiny-gemma2", prompt: 4 },
  { name: "goldens/tiny-gemma3-rope8-sharded", url: "/test/fixtures/goldens/tiny-gemma3-rope8-sharded", prompt: 2 },
  { name: "goldens/tiny-hgrnbit", url: "/test/fixtures/goldens/tiny-hgrnbit", prompt: 3 },
  { name: "storyteller", url: undefined, prompt: 1 },
]

const jobs = MODELS.map(({ name, url, prompt }) => {
  const { prompts, greedy } = golden(name)
  return { name, url, ids: prompts[prompt]!.ids, greedyIds: greedy[0]!.ids, maxTokens: MAX_TOKENS }
})

/** Files of the repository, by ranges where asked. */
async function serveFile(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const asked = join(root, normalize(decodeURIComponent(new URL(request.url!, "http://host").pathname)))
  const path = asked.includes("/ml-matrix/") && extname(asked) === "" ? `${asked}.js` : asked // it leaves that to bundlers
  const file = await stat(path).catch(() => undefined)
  if (!path.startsWith(root) || !file?.isFile()) {
    response.writeHead(404).end()
    return
  }
  const headers = { "content-type": TYPES[extname(path)] ?? "application/octet-stream", "accept-ranges": "bytes" }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "")
  const start = range ? Number(range[1]) : 0
  const end = Math.min(file.size - 1, range?.[2] ? Number(range[2]) : file.size - 1)
  if (range && start >= file.size) {
    response.writeHead(416, { "content-range": `bytes */${file.size}` }).end()
    return
  }
  const length = { "content-length": Math.max(0, end - start + 1) }
  if (range) response.writeHead(206, { ...headers, ...length, "content-range": `bytes ${start}-${end}/${file.size}` })
  else response.writeHead(200, { ...headers, ...length })
  if (request.method === "HEAD" || file.size === 0) response.end()
  else createReadStream(path, { start, end }).pipe(response)
}

function compare({ error, models, training, prefixes }: Results): string[] {
  if (error) return [error]
  return [...compareModels(models), ...compareTraining(training), ...comparePrefixes(prefixes)]
}

function comparePrefixes({ answers, reasons }: Prefixes): string[] {
  const reused = answers.map((answer) => answer.reused).join(", ")
  const same = String(answers[0]!.tokens) === String(answers[1]!.tokens)
  process.stdout.write(`prefixes: ${reused} tokens reused, answers ${same ? "equal" : "differ"}\n`)
  if (reused === "0, 299" && same && reasons.length === 0) return []
  return [`prefixes: ${reused} tokens reused, answers ${same ? "equal" : "differ"}, ${reasons.join("; ")}`]
}

function compareTraining({ losses, base, trained, without, loaded, files, bytesLeft }: Training): string[] {
  const worst = (a: readonly number[], b: readonly number[]) =>
    a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0)
  process.stdout.write(`training: losses ${losses.map((loss) => loss.toFixed(3)).join(", ")}; ${files.join(", ")}\n`)
  const failures: string[] = []
  const expect = (what: string, ok: boolean) => {
    if (!ok) failures.push(`training: ${what}`)
  }
  expect(`losses are ${losses}, expected 3 that fall`, losses.length === 3 && losses[2]! < losses[0]! - 0.1)
  expect("logits are as before, expected the adapter to change them", worst(trained, base) > 0.01)
  expect("logits without the adapter are others, expected the base's to the bit", worst(without, base) === 0)
  expect(`logits of the saved adapter are off by ${worst(loaded, trained)}`, worst(loaded, trained) <= 1e-4)
  expect(`files are ${files}, expected a PEFT folder among them`, files.includes("adapter_model.safetensors"))
  expect(`${bytesLeft} GPU bytes are left, expected 0`, bytesLeft === 0)
  return failures
}

function compareModels(models: Results["models"]): string[] {
  return MODELS.flatMap(({ name, prompt }) => {
    const failures: string[] = []
    const expected = golden(name)
    const { data, tolerance, shape } = expected.tensor(`prompt.${prompt}.logits`)
    const last = data.subarray((shape[0]! - 1) * shape[1]!)
    const result = models[name]!
    const worst = last.reduce((most, x, i) => Math.max(most, Math.abs(x - result.logits[i]!)), 0)
    if (!(worst <= tolerance)) failures.push(`${name}: logits are off by ${worst}, expected at most ${tolerance}`)
    const tokens = expected.greedy[0]!.new_tokens.slice(0, MAX_TOKENS)
    if (tokens.join() !== result.tokens.join())
      failures.push(`${name}: tokens are ${result.tokens}, expected ${tokens}`)
    if (result.bytesLeft !== 0) failures.push(`${name}: ${result.bytesLeft} GPU bytes are left, expected 0`)
    process.stdout.write(
      `${name}: logits within ${(worst / tolerance).toFixed(2)} of the tolerance, ${result.text.slice(0, 60)}\n`,
    )
    return failures
  })
}

const profile = await mkdtemp(join(tmpdir(), "gemlet-chromium-"))
let settle!: { resolve: (results: Results) => void; reject: (error: Error) => void }
const received = new Promise<Results>((resolve, reject) => {
  settle = { resolve, reject }
})
const server = createServer((request, response) => {
  if (request.url === "/jobs") {
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(jobs))
  } else if (request.url === "/results") {
    let body = ""
    request.on("data", (chunk) => {
      body += chunk
    })
    request.on("end", () => {
      response.end()
      settle.resolve(JSON.parse(body))
    })
  } else {
    serveFile(request, response).catch((error) => response.destroy(error))
  }
})
await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
const { port } = server.address() as AddressInfo
const flags = [
  "--headless=new",
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  `--user-data-dir=${profile}`,
]
const chromium = spawn(
  process.env.CHROMIUM ?? "/usr/bin/chromium",
  [...flags, `http://127.0.0.1:${port}/test/browser/page.html`],
  {
    stdio: "ignore",
  },
)
chromium.on("error", settle.reject)
chromium.on("exit", (code) => settle.reject(new Error(`chromium: exit code is ${code}, expected results first`)))
const timeout = setTimeout(() => settle.reject(new Error("chromium: no results in 180 s")), 180_000)
try {
  const results = await received
  const failures = compare(results)
  process.stdout.write(`${results.adapter}: ${failures.length} failed\n`)
  for (const failure of failures) process.stderr.write(`${failure}\n`)
  process.exitCode = failures.length > 0 ? 1 : 0
} finally {
  clearTimeout(timeout)
  chromium.kill("SIGKILL")
  server.closeAllConnections()
  server.close()
  await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
}
