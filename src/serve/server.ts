import { once } from "node:events"
import type { Server as HttpServer } from "node:http"
import { type AddressInfo, createServer as createPlainServer, type Server as PlainServer, type Socket } from "node:net"
import { createAdaptorServer } from "@hono/node-server"
import type { LanguageModel } from "../api.ts"
import { serveApp } from "./app.ts"
import { type ServeOptions, withDefaults } from "./options.ts"

export interface ServerOptions extends ServeOptions {
  /** The address to listen on; by default 127.0.0.1, which only this machine reaches. */
  readonly host?: string
  /** 8080 by default; 0 takes one that is free. */
  readonly port?: number
}

/** A server that listens. */
export interface Server {
  /** `http://127.0.0.1:8080`. */
  readonly url: string
  readonly host: string
  readonly port: number
  /** Takes no more requests; answers underway have `graceMs`, 3 seconds by default, until they are cut. */
  close(graceMs?: number): Promise<void>
}

const HOST = "127.0.0.1"
const PORT = 8080
/** What a connection may be silent for beyond the time of a request. */
const IDLE_MS = 60_000
/** What the last bytes of responses have to leave when the server closes. */
const FLUSH_MS = 1000

/**
 * Serves a model on a port, in Node and Deno. The model is the caller's to dispose, after `close`.
 *
 * @throws {RangeError} for an address that cannot be listened on, and what `serveApp` throws
 */
export async function createServer(
  lm: LanguageModel,
  { host = HOST, port = PORT, ...options }: ServerOptions = {},
): Promise<Server> {
  const app = serveApp(lm, options)
  const settings = { fetch: app.fetch, hostname: host, overrideGlobalObjects: false }
  const server = createAdaptorServer(settings) as HttpServer // it makes no other kind unless told to
  server.setTimeout(withDefaults(options).timeoutMs + IDLE_MS)
  const connections = new Connections(server)
  await listen(server, host, port)
  const address = server.address() as AddressInfo
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${address.port}`,
    host,
    port: address.port,
    async close(graceMs) {
      const closed = once(server, "close")
      server.close()
      await app.close(graceMs)
      await connections.close(closed)
    },
  }
}

/**
 * Tells before a model is loaded for nothing that an address cannot be listened on.
 *
 * @throws {RangeError} saying why
 */
export async function expectFree({ host = HOST, port = PORT }: ServerOptions): Promise<void> {
  const server = createPlainServer()
  await listen(server, host, port)
  server.close()
  await once(server, "close")
}

async function listen(server: PlainServer, host: string, port: number): Promise<void> {
  try {
    server.listen(port, host)
    await once(server, "listening")
  } catch (error) {
    throw listenError(error, host, port)
  }
}

/**
 * Knows a server's connections, and which of them wait for a response. Node's own closeIdleConnections leaves those open on
 * which nothing has been asked yet, as clients keep in reserve.
 */
class Connections {
  readonly #open = new Set<Socket>()
  readonly #busy = new Set<Socket>()
  #closing = false

  constructor(server: HttpServer) {
    server.on("connection", (socket) => {
      this.#open.add(socket)
      socket.once("close", () => this.#open.delete(socket))
    })
    server.on("request", ({ socket }, response) => {
      this.#busy.add(socket)
      response.once("close", () => {
        this.#busy.delete(socket)
        if (this.#closing) socket.destroySoon()
      })
    })
  }

  /** Closes each as soon as its response has left, and all in the end. */
  async close(closed: Promise<unknown>): Promise<void> {
    this.#closing = true
    for (const socket of this.#open) if (!this.#busy.has(socket)) socket.destroySoon()
    const timer = setTimeout(() => {
      for (const socket of this.#open) socket.destroy()
    }, FLUSH_MS)
    await closed
    clearTimeout(timer)
  }
}

function listenError(error: unknown, host: string, port: number): unknown {
  const code = error instanceof Error && "code" in error ? String(error.code) : ""
  const what: Readonly<Record<string, string>> = {
    EADDRINUSE: `port ${port} is taken on ${host}, expected a free one (0 finds one)`,
    EACCES: `port ${port} is not for this user, expected one from 1024 on`,
    EADDRNOTAVAIL: `host ${host} is no address of this machine, expected one such as 127.0.0.1 or 0.0.0.0`,
    ENOTFOUND: `host ${host} is unknown, expected an address of this machine such as 127.0.0.1 or 0.0.0.0`,
    ERR_SOCKET_BAD_PORT: `port is ${port}, expected a whole number from 0 to 65535`,
  }
  return what[code] ? new RangeError(`serve: ${what[code]}`, { cause: error }) : error
}
