import { listFiles, modelInfo } from "@huggingface/hub"
import { type Asked, answerError, HubError, networkError } from "./errors.ts"
import { fileUrl, isCommit } from "./model_id.ts"
import { Backoff, type Patience } from "./retry.ts"

/** A file as the Hub lists it. */
export interface RemoteFile {
  path: string
  size: number
  /** Its name among the blobs, and what its bytes must hash to. */
  etag: string
  /** sha256 of the bytes for large files (LFS), git's sha1 of a blob for the others. */
  algorithm: "sha256" | "git-sha1"
}

/** One model on one Hub, with the credentials for it. */
export class HubClient {
  readonly id: string
  readonly revision: string
  readonly endpoint: string
  readonly patience: Patience
  readonly signal: AbortSignal | undefined
  readonly #token: string | undefined
  readonly #fetch: typeof fetch

  constructor(options: {
    id: string
    revision: string
    endpoint: string
    patience: Patience
    token?: string | undefined
    signal?: AbortSignal | undefined
    fetch?: typeof fetch | undefined
  }) {
    this.id = options.id
    this.revision = options.revision
    this.endpoint = options.endpoint
    this.patience = options.patience
    this.signal = options.signal
    this.#token = options.token
    this.#fetch = options.fetch ?? fetch
  }

  /**
   * The commit a revision stands for, and the names of its files where the Hub gives them.
   * With a copy at hand (`hasCopy`) one quick question is enough.
   */
  async resolve(hasCopy: boolean): Promise<{ commit: string; files: string[] | undefined }> {
    const { attempts, stall } = this.patience
    const patience = hasCopy
      ? { ...this.patience, attempts: 1, stall: Math.min(stall, 10_000) }
      : { ...this.patience, attempts: Math.min(attempts, 3) }
    const info = await modelInfo({
      name: this.id,
      revision: this.revision,
      hubUrl: this.endpoint,
      additionalFields: ["sha", "filePaths"],
      fetch: (input, init) => this.#ask(input, init, patience),
    })
    if (!isCommit(String(info.sha))) {
      const what = `commit of ${this.revision} is ${JSON.stringify(info.sha)}, expected 40 hex digits`
      throw new HubError("server", `${this.id}: ${what} (is ${this.endpoint} a Hub?)`)
    }
    return { commit: info.sha, files: info.filePaths.length > 0 ? info.filePaths : undefined }
  }

  /** The files at the top of the repository. */
  async list(commit: string): Promise<Map<string, RemoteFile>> {
    const files = new Map<string, RemoteFile>()
    const entries = listFiles({
      repo: { type: "model", name: this.id },
      revision: commit,
      hubUrl: this.endpoint,
      fetch: (input, init) => this.#ask(input, init, this.patience),
    })
    for await (const { type, path, size, oid, lfs } of entries) {
      if (type !== "file") continue
      const algorithm = lfs ? "sha256" : "git-sha1"
      const etag = lfs?.oid ?? oid ?? ""
      if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(etag)) {
        throw new HubError("server", `${path}: etag is ${JSON.stringify(etag)}, expected a sha256 or a git sha1`)
      }
      files.set(path, { path, size: lfs?.size ?? size, etag, algorithm })
    }
    return files
  }

  /**
   * The bytes of a file from `offset` on. Redirects are followed by hand: the Hub's own answer names the content,
   * and the token stays with the Hub.
   *
   * @returns where the bytes really start, `offset` or 0 (a server may ignore or refuse the range), and the bytes
   */
  async open(
    commit: string,
    file: RemoteFile,
    offset: number,
    signal: AbortSignal,
  ): Promise<{ start: number; body: AsyncIterable<Uint8Array> }> {
    const headers = { "accept-encoding": "identity", ...(offset > 0 && { range: `bytes=${offset}-` }) }
    let url = fileUrl(this.endpoint, this.id, commit, file.path)
    for (let hop = 0; hop < 8; hop++) {
      const response = await this.#request(file.path, url, { headers, signal, redirect: "manual" })
      this.#expectSame(file, response)
      const location = response.headers.get("location")
      if (response.status >= 300 && response.status < 400 && URL.canParse(location ?? "", url)) {
        await response.body?.cancel()
        url = new URL(location!, url).href
      } else if (response.ok) {
        const start = rangeStart(file, response, offset)
        return { start, body: bytesOf(response, file.path, url) }
      } else if (response.status === 416 && offset > 0) {
        await response.body?.cancel()
        return this.open(commit, file, 0, signal)
      } else {
        throw await this.#refusal(file, url, response)
      }
    }
    throw new HubError("server", `${file.path}: redirects are more than 8, the last to ${new URL(url).host}`)
  }

  /** A `fetch` for the library's requests: retried, timed, and with errors that say what to do. */
  async #ask(input: RequestInfo | URL, init: RequestInit | undefined, patience: Patience): Promise<Response> {
    const url = input instanceof Request ? input.url : String(input)
    const backoff = new Backoff(patience, this.signal)
    while (true) {
      try {
        const signal = this.#within(AbortSignal.timeout(patience.stall))
        const response = await this.#request(this.id, url, { ...init, signal })
        const body = await response.arrayBuffer().catch((error: unknown) => {
          throw networkError(this.id, url, error)
        })
        if (!response.ok) throw answerError(response, this.#asked(), new TextDecoder().decode(body))
        return new Response(body, { status: response.status, headers: response.headers })
      } catch (error) {
        await backoff.pause(error)
      }
    }
  }

  async #request(subject: string, url: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers)
    if (this.#token !== undefined && new URL(url).origin === new URL(this.endpoint).origin) {
      headers.set("authorization", `Bearer ${this.#token}`)
    }
    const call = this.#fetch
    try {
      return await call(url, { ...init, headers })
    } catch (error) {
      throw networkError(subject, url, error)
    }
  }

  /** The Hub names a large file's content in its first answer, before a byte of it is sent. */
  #expectSame(file: RemoteFile, response: Response): void {
    const etag = response.headers.get("x-linked-etag")?.replace(/^W\//, "").replaceAll('"', "")
    if (etag === undefined || file.algorithm !== "sha256" || etag === file.etag) return
    throw new HubError("changed", `${file.path}: etag is ${etag}, expected ${file.etag} as listed; run again`)
  }

  /** Storage behind the Hub refuses when a signed address has run out: the next attempt gets a fresh one. */
  async #refusal(file: RemoteFile, url: string, response: Response): Promise<HubError> {
    const body = await response.text().catch(() => "")
    const { host, origin } = new URL(url)
    const error = answerError(response, { ...this.#asked(), file: file.path }, body)
    if (origin === new URL(this.endpoint).origin || error.code === "server") return error
    return new HubError("server", `${file.path}: ${host} answers ${response.status}, expected 200 or 206`)
  }

  #within(timeout: AbortSignal): AbortSignal {
    return this.signal ? AbortSignal.any([this.signal, timeout]) : timeout
  }

  #asked(): Asked {
    const { endpoint, id, revision } = this
    return { endpoint, id, revision, hasToken: this.#token !== undefined }
  }
}

/** @throws HubError when the answer belongs to a file of another size */
function rangeStart(file: RemoteFile, response: Response, offset: number): number {
  if (response.status !== 206) return 0
  const range = response.headers.get("content-range") ?? ""
  const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range) ?? []
  if (Number(start) !== offset) {
    throw new HubError("server", `${file.path}: content-range is ${JSON.stringify(range)}, expected bytes ${offset}-`)
  }
  if (total !== "*" && Number(total) !== file.size) {
    throw new HubError("changed", `${file.path}: size is ${total} bytes, expected ${file.size} as listed; run again`)
  }
  return offset
}

/** A connection that breaks in the middle is a network error that names the host. */
async function* bytesOf(response: Response, subject: string, url: string): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader()
  if (!reader) return
  try {
    while (true) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        throw networkError(subject, url, error)
      })
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => {})
  }
}
