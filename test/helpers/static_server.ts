import { createReadStream } from "node:fs"
import { stat } from "node:fs/promises"
import { createServer, type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { extname } from "node:path"

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".webmanifest": "application/manifest+json",
}

/** A server on a port of its own, until it is disposed. */
export interface Served extends AsyncDisposable {
  /** Without a slash at its end. */
  readonly origin: string
}

export async function listen(
  answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): Promise<Served> {
  const server = createServer((request, response) => {
    answer(request, response).catch((error) => response.destroy(error))
  })
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((done) => server.close(done))
      server.closeAllConnections()
      await closed
    },
  }
}

/** Answers with a file below `root`, or with the range of it that is asked for. */
export async function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  { root, path, headers }: { readonly root: string; readonly path: string; readonly headers?: OutgoingHttpHeaders },
): Promise<void> {
  const file = path.startsWith(root) ? await stat(path).catch(() => undefined) : undefined
  if (!file?.isFile()) {
    response.writeHead(404).end()
    return
  }
  const all = { "content-type": typeOf(path), "accept-ranges": "bytes", ...headers }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "")
  const start = range ? Number(range[1]) : 0
  const end = Math.min(file.size - 1, range?.[2] ? Number(range[2]) : file.size - 1)
  if (range && start >= file.size) {
    response.writeHead(416, { "content-range": `bytes */${file.size}` }).end()
    return
  }
  const length = { "content-length": Math.max(0, end - start + 1) }
  if (range) response.writeHead(206, { ...all, ...length, "content-range": `bytes ${start}-${end}/${file.size}` })
  else response.writeHead(200, { ...all, ...length })
  if (request.method === "HEAD" || file.size === 0) response.end()
  else createReadStream(path, { start, end }).pipe(response)
}

function typeOf(path: string): string {
  return TYPES[extname(path)] ?? "application/octet-stream"
}
