// Models kept by headless Chromium: brought over broken connections, by tabs that are closed and beside each other, into a full
// store; then loaded from there, after a reload and without the Hub.
//   npm run build && npx tsx test/browser/models.ts        (CHROMIUM names the program, /usr/bin/chromium without it)
import { readFile } from "node:fs/promises"
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { extname, join, normalize } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { type BrowserContext, chromium, type Page } from "playwright-core"
import type { ModelStore, StoredModel } from "../../src/browser.ts"
import { golden } from "../helpers/golden.ts"
import { FakeHub } from "../hub/fake_hub.ts"

const root = fileURLToPath(new URL("../../", import.meta.url))
const WEIGHTS = "model.safetensors"
const FILES = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS]
const PIECE = 2 ** 20
const MAX_TOKENS = 24
const FLAGS = ["--enable-unsafe-webgpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]

declare global {
  /** What the page makes for this script. */
  var store: ModelStore
  var generate: (ids: readonly number[], maxTokens: number) => Promise<readonly number[]>
}

const failures: string[] = []
function expectEqual(what: string, actual: unknown, expected: unknown): void {
  const [is, should] = [actual, expected].map((value) => JSON.stringify(value))
  process.stdout.write(`${what}: ${is!.slice(0, 100)}\n`)
  if (is !== should) failures.push(`${what} is ${is}, expected ${should}`)
}

/** The page: a store, and a model loaded from it. The worker imports the store by itself. */
function pageOf(imports: string, endpoint: string): string {
  const options = JSON.stringify({ endpoint, pieceBytes: PIECE, patience: { pause: 10 } })
  return `<!doctype html><title>models</title>${imports}
    <script type="module">
      import { load, modelStore } from "/dist/src/browser.js"
      globalThis.store = modelStore(${options})
      globalThis.generate = async (ids, maxTokens) => {
        const lm = await load(await store.open("me/storyteller"), { context: 256 })
        const answer = lm.generate(ids, { temperature: 0, maxTokens, ignoreEos: true })
        for await (const _ of answer);
        await lm.dispose()
        return answer.tokens
      }
    </script>`
}

const WORKER = `
  import { modelStore } from "/dist/src/platform/web_models.js"
  const store = modelStore()
  const files = await store.files("me/storyteller")
  await store.import(files, { id: "copy" })
  postMessage({ models: await store.list(), persisted: await store.persist() })`

async function serve(url: string, endpoint: string, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(url, "http://host")
  const send = (type: string, body: string | Buffer) => response.writeHead(200, { "content-type": type }).end(body)
  if (pathname === "/") {
    const page = await readFile(join(root, "test/browser/page.html"), "utf8")
    send("text/html", pageOf(/<script type="importmap">.*?<\/script>/s.exec(page)![0], endpoint))
  } else if (pathname === "/worker.js") send("text/javascript", WORKER)
  else {
    const path = join(root, normalize(decodeURIComponent(pathname)))
    const name = path.includes("/ml-matrix/") && extname(path) === "" ? `${path}.js` : path // it leaves that to bundlers
    const file = path.startsWith(root) ? await readFile(name).catch(() => undefined) : undefined
    if (file) send("text/javascript", file)
    else response.writeHead(404).end()
  }
}

async function openPage(context: BrowserContext, address: string): Promise<Page> {
  const page = await context.newPage()
  page.on("pageerror", (error) => failures.push(`page: ${error}`))
  await page.goto(address)
  await page.waitForFunction(() => globalThis.store !== undefined)
  return page
}

function download(page: Page): Promise<StoredModel> {
  return page.evaluate(() => store.download("me/storyteller", { token: "secret" }))
}

/** The ranges that the storage was asked for since it was last forgotten. */
function ranges(hub: FakeHub): (string | undefined)[] {
  return hub.log.filter(({ server }) => server === "cdn").map(({ range }) => range)
}

async function check(context: BrowserContext, address: string, hub: FakeHub): Promise<void> {
  const size = hub.files.get(WEIGHTS)!.length

  const closed = await openPage(context, address)
  hub.fail(WEIGHTS, { stall: 4 * PIECE + 5000 })
  download(closed).catch(() => {}) // its tab is closed
  while (hub.sent(WEIGHTS) < 4 * PIECE + 5000) await sleep(50)
  await sleep(1000) // what was sent is to be received and written
  await closed.close()
  hub.log.length = 0

  const page = await openPage(context, address)
  const session = await context.newCDPSession(page)
  await session.send("Storage.overrideQuotaForOrigin", { origin: address, quotaSize: 5 * PIECE })
  const full = await download(page).catch((error: Error) => error.message)
  expectEqual(
    "a full store is said in words",
    /(browser has room for|full at byte) .* MB short/.test(String(full)) || full,
    true,
  )
  hub.log.length = 0
  await session.send("Storage.overrideQuotaForOrigin", { origin: address })

  hub.fail(WEIGHTS, { drop: PIECE })
  const other = await openPage(context, address)
  const models = await Promise.all([download(page), download(other)])
  expectEqual(
    "both tabs have it",
    models.map(({ complete }) => complete),
    [true, true],
  )
  expectEqual("ranges begin after the closed tab's pieces", ranges(hub)[0], `bytes=${4 * PIECE}-`)
  expectEqual("and go on after the drop", ranges(hub).length, 2)
  const tokens = hub.log.map(({ server, token }) => `${server} ${token}`)
  expectEqual("the token goes to the Hub alone", [...new Set(tokens)].sort(), ["cdn undefined", "hub Bearer secret"])
  expectEqual("one tab transferred", hub.sent(WEIGHTS) <= size - 4 * PIECE + 65_536, true)

  hub.goOffline()
  await other.close()
  await page.reload()
  await page.waitForFunction(() => globalThis.store !== undefined)
  const { greedy } = golden("storyteller")
  const drawn = await page.evaluate(([ids, count]) => generate(ids, count), [greedy[0]!.ids, MAX_TOKENS] as const)
  expectEqual("tokens after a reload, offline", drawn, greedy[0]!.new_tokens.slice(0, MAX_TOKENS))

  const { quota, usage, models: bytes } = await page.evaluate(() => store.estimate())
  const total = FILES.reduce((sum, name) => sum + hub.files.get(name)!.length, 0)
  expectEqual("bytes of models", bytes, total)
  expectEqual("usage and quota are told", usage! >= total && quota! > usage!, true)

  const fromWorker = await page.evaluate(
    () =>
      new Promise<{ models: StoredModel[] }>((resolve, reject) => {
        const worker = new Worker("/worker.js", { type: "module" })
        worker.onmessage = ({ data }) => resolve(data)
        worker.onerror = ({ message }) => reject(new Error(message))
      }),
  )
  expectEqual(
    "a worker imports and lists",
    fromWorker.models.map(({ id, complete, loaded }) => [id, complete, loaded]),
    ["copy", "me/storyteller"].map((id) => [id, true, total]),
  )
  await page.evaluate(() => Promise.all(["copy", "me/storyteller"].map((id) => store.remove(id))))
  expectEqual("nothing is left", await page.evaluate(() => store.list()), [])
}

const hub = await new FakeHub().start()
hub.id = "me/storyteller"
for (const name of FILES) hub.files.set(name, await readFile(join(root, "weights/storyteller", name)))
const server = createServer((request, response) => {
  serve(request.url!, hub.endpoint, response).catch((error) => response.destroy(error))
})
await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: FLAGS,
  chromiumSandbox: false,
  timeout: 60_000,
})
try {
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  await check(await browser.newContext(), address, hub)
} finally {
  await browser.close()
  server.closeAllConnections()
  server.close()
  await hub[Symbol.asyncDispose]()
}
process.stdout.write(`${failures.length} failed\n`)
for (const failure of failures) process.stderr.write(`${failure}\n`)
process.exitCode = failures.length > 0 ? 1 : 0
