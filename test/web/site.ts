import { createReadStream } from "node:fs"
import { readFile, stat } from "node:fs/promises"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { extname, join, normalize } from "node:path"
import { fileURLToPath } from "node:url"
import { CONTENT_POLICY } from "../../web/build/content_policy.ts"

/** The built page: web/dist, or the folder that WEB_DIST names, with a slash at its end. */
const ROOT = process.env.WEB_DIST ?? fileURLToPath(new URL("../../web/dist/", import.meta.url))
const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".webmanifest": "application/manifest+json",
}

/** The built page on a port of its own. */
export interface Site extends AsyncDisposable {
  readonly url: string
  /** Paths that were asked for. */
  readonly requests: string[]
}

/**
 * Serves the built page with the headers that docs/web.md asks a host for. Below a folder, as any host may.
 *
 * @param hub where the engine asks in the place of the Hub; the policy of its script has to know of that
 */
export async function serveSite(hub?: string): Promise<Site> {
  const requests: string[] = []
  const server = createServer((request, response) => {
    requests.push(request.url!)
    serve(request, response, hub).catch((error) => response.destroy(error))
  })
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/page/`,
    requests,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((done) => server.close(done))
      server.closeAllConnections()
      await closed
    },
  }
}

async function serve(request: IncomingMessage, response: ServerResponse, hub: string | undefined): Promise<void> {
  const { pathname } = new URL(request.url!, "http://host")
  const name = normalize(decodeURIComponent(pathname.replace(/^\/page\//, ""))) || "index.html"
  const path = join(ROOT, name === "." ? "index.html" : name)
  const file = await stat(path).catch(() => undefined)
  if (!pathname.startsWith("/page/") || !path.startsWith(ROOT) || !file?.isFile()) {
    response.writeHead(404).end()
    return
  }
  const headers = {
    "content-type": TYPES[extname(path)] ?? "application/octet-stream",
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "accept-ranges": "bytes",
  }
  if (hub && /^assets\/script-/.test(name)) {
    const policy = CONTENT_POLICY.replace("connect-src", "connect-src http://127.0.0.1:*")
    const script = `${askInstead(hub)}\n${await readFile(path, "utf8")}`
    response.writeHead(200, { ...headers, "content-security-policy": policy }).end(script)
    return
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "")
  const start = range ? Number(range[1]) : 0
  const end = Math.min(file.size - 1, range?.[2] ? Number(range[2]) : file.size - 1)
  const length = { "content-length": Math.max(0, end - start + 1) }
  if (range) response.writeHead(206, { ...headers, ...length, "content-range": `bytes ${start}-${end}/${file.size}` })
  else response.writeHead(200, { ...headers, ...length })
  createReadStream(path, { start, end }).pipe(response)
}

/** Before the engine's script: what is for the Hub goes elsewhere. */
function askInstead(hub: string): string {
  return `{ const own = fetch
    globalThis.fetch = (url, init) => own(String(url).replace("https://huggingface.co", ${JSON.stringify(hub)}), init) }`
}
