// Runs the built package in headless Chromium, from its browser entry, and holds it to the goldens.
//   npm run test:browser        (CHROMIUM names the program, /usr/bin/chromium without it)
import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { mkdtemp, readFile, rm } from "node:fs/promises"
import type { IncomingMessage, ServerResponse } from "node:http"
import { tmpdir } from "node:os"
import { extname, join, normalize } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { golden } from "../helpers/golden.ts"
import { listen, sendFile } from "../helpers/static_server.ts"

const root = fileURLToPath(new URL("../../", import.meta.url))
const MAX_TOKENS = 48
/** What comes before a script whose imports are addresses. */
const RESOLVED = "/resolved"
/** Nothing but this server's own files: no eval, no inline scripts, no blobs. */
const POLICY = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'"

interface Results {
  error?: string
  adapter: string
  models: Record<string, { logits: number[]; tokens: number[]; text: string; bytesLeft: number }>
  training: Training
  prefixes: Prefixes
  /** Hashes of evaluation tasks' first instances, by task. */
  instances: Record<string, string>
  worker: WorkerResults
}

/** What the page has of an engine in a Worker. */
interface WorkerResults {
  error?: string
  tokens: number[]
  text: string
  pieces: number
  logits: number
  phases: string[]
  /** The most milliseconds between two turns of the page's own loop while the model answered. */
  longest: number
  losses: number[]
  names: string[]
  weights: number
  held: number
  adapters: string[]
  bytesLeft: number
  death: string
  /** Tokens that an engine in a SharedWorker has scored. */
  shared: number
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

/** Where the page's import map leads: a package's name to its file. */
async function importMap(): Promise<Record<string, string>> {
  const page = await readFile(join(root, "test/browser/page.html"), "utf8")
  return JSON.parse(/<script type="importmap">(.*?)<\/script>/s.exec(page)![1]!).imports
}

/** A script with the names of packages made addresses. Its own policy is the Worker's. */
async function serveResolved(pathname: string, response: ServerResponse): Promise<void> {
  const imports = await importMap()
  const path = join(root, normalize(pathname.slice(RESOLVED.length)))
  const name = path.includes("/ml-matrix/") && extname(path) === "" ? `${path}.js` : path
  const text = await readFile(name, "utf8")
  const resolve = (all: string, before: string, from: string) =>
    imports[from] ? `${before}"${RESOLVED}${imports[from]}"` : all
  const headers = { "content-type": "text/javascript", "content-security-policy": POLICY }
  response.writeHead(200, headers).end(text.replace(/(\bfrom\s*|\bimport\s*\(?\s*)["']([^"'.][^"']*)["']/g, resolve))
}

/** Files of the repository, by ranges where asked; those in TypeScript without their types. */
async function serveFile(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(request.url!, "http://host")
  if (pathname.startsWith("/test/eval/")) {
    const source = await readFile(join(root, normalize(pathname)), "utf8")
    const { outputText } = ts.transpileModule(source, { compilerOptions: { target: ts.ScriptTarget.ES2023 } })
    response.writeHead(200, { "content-type": "text/javascript" }).end(outputText)
    return
  }
  if (pathname.startsWith(RESOLVED) && /\/(dist|node_modules)\//.test(pathname) && !pathname.includes("/weights/")) {
    return serveResolved(pathname, response)
  }
  const asked = join(root, normalize(decodeURIComponent(pathname.replace(RESOLVED, ""))))
  const path = asked.includes("/ml-matrix/") && extname(asked) === "" ? `${asked}.js` : asked // it leaves that to bundlers
  const headers = {
    ...(path.endsWith("/worker.html") && { "content-security-policy": POLICY }),
  }
  await sendFile(request, response, { root, path, headers })
}

function compare({ error, models, training, prefixes, instances, worker }: Results): string[] {
  const page = error
    ? [error]
    : [
        ...compareModels(models),
        ...compareTraining(training),
        ...comparePrefixes(prefixes),
        ...compareInstances(instances),
      ]
  return [...page, ...(worker.error ? [`worker: ${worker.error}`] : compareWorker(worker, models, training))]
}

function compareWorker(worker: WorkerResults, models: Results["models"], training: Training): string[] {
  const {
    tokens,
    text,
    pieces,
    logits,
    phases,
    longest,
    losses,
    names,
    weights,
    held,
    adapters,
    bytesLeft,
    death,
    shared,
  } = worker
  const direct = models.storyteller!
  const failures: string[] = []
  const expect = (what: string, ok: boolean) => {
    if (!ok) failures.push(`worker: ${what}`)
  }
  process.stdout.write(
    `worker: ${tokens.length} tokens in ${pieces} pieces, the page waited ${longest.toFixed(0)} ms at most\n`,
  )
  expect(`tokens are ${tokens}, expected ${direct.tokens}`, String(tokens) === String(direct.tokens))
  expect(`text is ${text}, expected ${direct.text}`, text === direct.text)
  expect(`pieces are ${pieces}, expected several`, pieces > 3)
  expect(`logits are ${logits}, expected ${direct.logits.length}`, logits === direct.logits.length)
  expect(`progress is of ${phases}, expected upload`, String(phases) === "upload")
  expect(`losses are ${losses}, expected 3 that fall`, losses.length === 3 && losses[2]! < losses[0]! - 0.1)
  expect(
    `first loss is ${losses[0]}, expected ${training.losses[0]}`,
    Math.abs(losses[0]! - training.losses[0]!) < 1e-4,
  )
  expect(
    `files are ${names}, expected a checkpoint`,
    names.includes("model.safetensors") && names.includes("config.json"),
  )
  expect(`${held} bytes of weights are held, expected ${weights} as was told before`, held === weights)
  expect(`adapters are ${adapters}, expected the saved one`, String(adapters) === "default true")
  expect(`${bytesLeft} GPU bytes are left, expected 0`, bytesLeft === 0)
  expect(`a call of a worker that is ended gives ${death}, expected an error`, death === "terminated")
  expect(`a shared engine scores ${shared} tokens, expected 5`, shared === 5)
  return failures
}

/** To those that Node made: test/eval/instances.test.ts. */
function compareInstances(instances: Results["instances"]): string[] {
  const expected: Results["instances"] = JSON.parse(
    readFileSync(join(root, "test/fixtures/eval/instances.json"), "utf8"),
  )
  process.stdout.write(`instances: of ${Object.keys(instances).length} tasks\n`)
  return Object.keys(expected)
    .filter((task) => instances[task] !== expected[task])
    .map((task) => `instances of ${task} have hash ${instances[task]}, expected ${expected[task]}`)
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
let page: Omit<Results, "worker"> // sent before the worker's
const received = new Promise<Results>((resolve, reject) => {
  settle = { resolve, reject }
})
const server = await listen(async (request, response) => {
  if (request.url === "/jobs") {
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(jobs))
  } else if (request.url?.startsWith("/results/")) {
    let body = ""
    request.on("data", (chunk) => {
      body += chunk
    })
    request.on("end", () => {
      response.end()
      if (request.url === "/results/page") page = JSON.parse(body)
      else settle.resolve({ ...page, worker: JSON.parse(body) })
    })
  } else {
    await serveFile(request, response)
  }
})
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
  [...flags, `${server.origin}/test/browser/page.html`],
  {
    stdio: "ignore",
  },
)
chromium.on("error", settle.reject)
chromium.on("exit", (code) => settle.reject(new Error(`chromium: exit code is ${code}, expected results first`)))
const timeout = setTimeout(() => settle.reject(new Error("chromium: no results in 300 s")), 300_000)
try {
  const results = await received
  const failures = compare(results)
  process.stdout.write(`${results.adapter}: ${failures.length} failed\n`)
  for (const failure of failures) process.stderr.write(`${failure}\n`)
  process.exitCode = failures.length > 0 ? 1 : 0
} finally {
  clearTimeout(timeout)
  chromium.kill("SIGKILL")
  await server[Symbol.asyncDispose]()
  await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
}
