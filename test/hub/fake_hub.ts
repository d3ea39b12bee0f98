import { createHash } from "node:crypto"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

/** What goes wrong with one answer. */
export interface Fault {
  /** Answers this status instead. */
  status?: number
  headers?: Record<string, string>
  /** Sends so many bytes of the answer and cuts the connection. */
  drop?: number
  /** Sends so many bytes of the answer and then nothing. */
  stall?: number
  /** Ends the answer properly, but so many bytes early. */
  truncate?: number
  /** Flips a bit of this byte of the file. */
  corrupt?: number
  ignoreRange?: boolean
  /** Calls the content so instead of by its hash. */
  etag?: string
  /** Waits before each piece, in ms. */
  slow?: number
  /** Runs before the answer. */
  before?: () => void
}

export interface Logged {
  server: "hub" | "cdn"
  method: string
  path: string
  range: string | undefined
  token: string | undefined
  /** Bytes of file content sent. */
  sent: number
}

/** What the Hub lets pages of other origins see. */
const CORS = {
  "access-control-allow-origin": "*",
  "access-control-allow-headers": "authorization, range",
  "access-control-expose-headers": "etag, content-range, link, retry-after, x-error-code, x-error-message",
}

/** A Hub on this machine: the API routes, `resolve`, and a second server as the storage that large files redirect to. */
export class FakeHub {
  readonly files = new Map<string, Buffer>()
  readonly log: Logged[] = []
  endpoint = ""
  id = "google/gemma-test"
  commit = "1".repeat(40)
  /** Answers every request for the model so: gated, private, wrong token. */
  access: { status: number; code?: string; message?: string } | undefined
  /** What opens it all the same. */
  token: string | undefined
  /** Whether `access` concerns the files alone, as with gated models. */
  filesOnly = false
  /** Whether the model's information names its files. */
  siblings = true
  /** Files to a page of the list. */
  pageSize = 1000
  #faults = new Map<string, Fault[]>()
  #hub: Server | undefined
  #cdn: Server | undefined
  #gone = false

  async start(): Promise<this> {
    this.#hub = await listen((request, response) => this.#answer("hub", request, response))
    this.#cdn = await listen((request, response) => this.#answer("cdn", request, response))
    this.endpoint = address(this.#hub)
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server?.closeAllConnections()
      await new Promise((done) => server?.close(done))
    }
  }

  /** From now on every connection is cut before it answers. */
  goOffline(): void {
    this.#gone = true
  }

  /** The next answers to requests whose path ends so. A file's faults meet its bytes, after the redirect. */
  fail(path: string, ...faults: Fault[]): void {
    this.#faults.set(path, faults)
  }

  /** Requests for the bytes of files. */
  get fileRequests(): Logged[] {
    return this.log.filter(({ path, server }) => server === "cdn" || path.includes("/resolve/"))
  }

  sent(file: string): number {
    return this.log.filter(({ path }) => path.endsWith(`/${file}`)).reduce((sum, { sent }) => sum + sent, 0)
  }

  isLarge(file: string): boolean {
    return file.endsWith(".safetensors") || file.endsWith(".bin")
  }

  etag(file: string): string {
    const bytes = this.files.get(file)!
    return this.isLarge(file) ? sha256(bytes) : gitSha1(bytes)
  }

  #answer(server: "hub" | "cdn", request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://hub")
    const path = decodeURIComponent(url.pathname)
    const { range, authorization: token } = request.headers
    const logged: Logged = { server, method: request.method ?? "", path, range, token, sent: 0 }
    for (const [name, value] of Object.entries(CORS)) response.setHeader(name, value)
    if (request.method === "OPTIONS") {
      response.writeHead(server === "hub" ? 204 : 403).end() // the Hub's storage answers no preflight
      return
    }
    this.log.push(logged)
    if (this.#gone) {
      request.socket.destroy()
      return
    }
    const bytesHere = server === "cdn" || (path.includes("/resolve/") && !this.isLarge(path))
    const key = [...this.#faults.keys()].find((end) => path.endsWith(end))
    const fault = (bytesHere || path.startsWith("/api/") ? this.#faults.get(key ?? "")?.shift() : undefined) ?? {}
    fault.before?.()
    if (fault.status !== undefined) {
      response.writeHead(fault.status, fault.headers).end("failing as told")
    } else if (server === "cdn") {
      this.#serve(path.slice(1), request, response, fault, logged)
    } else if (path.startsWith("/api/models/")) {
      this.#api(path, Number(url.searchParams.get("cursor")), request, response)
    } else {
      this.#resolve(path, request, response, fault, logged)
    }
  }

  #api(path: string, cursor: number, request: IncomingMessage, response: ServerResponse): void {
    const rest = path.slice("/api/models/".length)
    const [route, ...revision] = rest.slice(this.id.length + 1).split("/")
    const refusal = this.#refusal(rest, revision.join("/"), !this.filesOnly && !this.#isOpenTo(request))
    const siblings = this.siblings ? [...this.files.keys()].map((rfilename) => ({ rfilename })) : undefined
    const tree = [...this.files].map(([path, bytes]) => {
      const lfs = this.isLarge(path) && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 134 } }
      return { type: "file", path, size: bytes.length, oid: gitSha1(bytes), ...lfs }
    })
    const next = cursor + this.pageSize
    if (route === "tree" && next < tree.length) {
      response.setHeader("link", `<${this.endpoint}${path}?cursor=${next}>; rel="next"`)
    }
    if (refusal) refuse(response, refusal)
    else if (route === "tree") {
      json(response, [{ type: "directory", path: "onnx", size: 0 }, ...tree.slice(cursor, next)])
    } else json(response, { _id: "x", id: this.id, sha: this.commit, private: false, gated: false, siblings })
  }

  #isOpenTo({ headers }: IncomingMessage): boolean {
    return this.token !== undefined && headers.authorization === `Bearer ${this.token}`
  }

  #refusal(path: string, revision: string, isConcerned: boolean): FakeHub["access"] {
    if (this.access && isConcerned) return this.access
    if (!path.startsWith(`${this.id}/`)) return { status: 401, code: "RepoNotFound" }
    return ["main", this.commit].includes(revision) ? undefined : { status: 404, code: "RevisionNotFound" }
  }

  #resolve(path: string, request: IncomingMessage, response: ServerResponse, fault: Fault, logged: Logged): void {
    const [, revision = "", file = ""] = /^\/[^/]+\/[^/]+\/resolve\/([^/]+)\/(.+)$/.exec(path) ?? []
    const refusal = this.#refusal(path.slice(1), revision, !this.#isOpenTo(request))
    const bytes = this.files.get(file)
    response.setHeader("x-repo-commit", this.commit)
    if (refusal) refuse(response, refusal)
    else if (!bytes) refuse(response, { status: 404, code: "EntryNotFound" })
    else if (!this.isLarge(file)) this.#serve(file, request, response, fault, logged)
    else {
      const location = `${address(this.#cdn!)}/${file}`
      const linked = { "x-linked-etag": `"${sha256(bytes)}"`, "x-linked-size": String(bytes.length) }
      response.writeHead(302, { location, ...linked }).end()
    }
  }

  #serve(file: string, request: IncomingMessage, response: ServerResponse, fault: Fault, logged: Logged): void {
    const whole = Buffer.from(this.files.get(file)!)
    if (fault.corrupt !== undefined) whole[fault.corrupt]! ^= 1
    const start = fault.ignoreRange ? 0 : Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0)
    const end = fault.ignoreRange ? undefined : /^bytes=\d+-(\d+)$/.exec(request.headers.range ?? "")?.[1]
    if (start >= whole.length && whole.length > 0) {
      response.writeHead(416, { "content-range": `bytes */${whole.length}` }).end()
      return
    }
    const bytes = whole.subarray(start, end === undefined ? undefined : Number(end) + 1)
    const isPart = request.headers.range !== undefined && !fault.ignoreRange
    const range = `bytes ${start}-${start + bytes.length - 1}/${whole.length}`
    response.writeHead(isPart ? 206 : 200, {
      etag: `"${fault.etag ?? this.etag(file)}"`,
      "content-length": String(bytes.length - (fault.truncate ?? 0)),
      ...(isPart && { "content-range": range }),
    })
    if (request.method === "HEAD") {
      response.end()
      return
    }
    const until = fault.drop ?? fault.stall ?? bytes.length - (fault.truncate ?? 0)
    void this.#send(bytes.subarray(0, until), response, fault, logged)
  }

  async #send(bytes: Buffer, response: ServerResponse, fault: Fault, logged: Logged): Promise<void> {
    const piece = 16 * 1024
    for (let at = 0; at < bytes.length && !response.destroyed; at += piece) {
      if (fault.slow) await new Promise((done) => setTimeout(done, fault.slow))
      const part = bytes.subarray(at, at + piece)
      await new Promise((done) => response.write(part, done))
      logged.sent += part.length
    }
    if (fault.drop !== undefined) {
      // Lets the bytes leave first: a destroyed socket may take them with it.
      setTimeout(() => response.destroy(), 20)
    } else if (fault.stall === undefined) response.end()
  }
}

export function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex")
}

export function gitSha1(bytes: Buffer): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex")
}

function refuse(response: ServerResponse, { status, code, message }: NonNullable<FakeHub["access"]>): void {
  const headers = { ...(code && { "x-error-code": code }), ...(message && { "x-error-message": message }) }
  response.writeHead(status, { "content-type": "application/json", ...headers })
  response.end(JSON.stringify({ error: message ?? "no" }))
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value))
}

function address(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function listen(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server> {
  const server = createServer(answer)
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  return server
}
