import { readFile } from "node:fs/promises"
import type { IncomingMessage, ServerResponse } from "node:http"
import { join, normalize } from "node:path"
import { fileURLToPath } from "node:url"
import { CONTENT_POLICY } from "../../web/build/content_policy.ts"
import { listen, sendFile } from "../helpers/static_server.ts"

/** The built page: web/dist, or the folder that WEB_DIST names, with a slash at its end. */
const ROOT = process.env.WEB_DIST ?? fileURLToPath(new URL("../../web/dist/", import.meta.url))

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
  const server = await listen((request, response) => {
    requests.push(request.url!)
    return serve(request, response, hub)
  })
  return {
    url: `${server.origin}/page/`,
    requests,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

async function serve(request: IncomingMessage, response: ServerResponse, hub: string | undefined): Promise<void> {
  const { pathname } = new URL(request.url!, "http://host")
  if (!pathname.startsWith("/page/")) {
    response.writeHead(404).end()
    return
  }
  const name = decodeURIComponent(pathname.slice("/page/".length)) || "index.html"
  const path = join(ROOT, normalize(name))
  const headers = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
  }
  if (hub && /^assets\/script-/.test(name)) {
    const policy = CONTENT_POLICY.replace("connect-src", "connect-src http://127.0.0.1:*")
    const script = `${askInstead(hub)}\n${await readFile(path, "utf8")}`
    response.writeHead(200, { ...headers, "content-type": "text/javascript", "content-security-policy": policy })
    response.end(script)
  } else await sendFile(request, response, { root: ROOT, path, headers })
}

/** Before the engine's script: what is for the Hub goes elsewhere. */
function askInstead(hub: string): string {
  return `{ const own = fetch
    globalThis.fetch = (url, init) => own(String(url).replace("https://huggingface.co", ${JSON.stringify(hub)}), init) }`
}
