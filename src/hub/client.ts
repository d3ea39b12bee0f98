import { parseJson } from "../model/source.ts"
import { commitOf, fileNames, filesOf, nextPage, type RemoteFile } from "./answers.ts"
import { type Asked, answerError, HubError, networkError } from "./errors.ts"
import { checkToken, fileUrl } from "./model_id.ts"
import { Backoff, type Patience } from "./retry.ts"
import type { Opened, Origin } from "./transfer.ts"

export type { RemoteFile } from "./answers.ts"

/** One model on one Hub, with the credentials for it. */
export class HubClient {
  readonly id: string
  readonly revision: string
  readonly endpoint: string
  readonly patience: Patience
  readonly signal: AbortSignal | undefined
  readonly #token: string | undefined
  readonly #fetch: typeof fetch
  readonly #inBrowser: boolean

  constructor(options: {
    id: string
    revision: string
    endpoint: string
    patience: Patience
    token?: string | undefined
    signal?: AbortSignal | undefined
    fetch?: typeof fetch | undefined
    /**
     * Browsers show a script no redirect, follow it, and leave the token out where another host comes. Elsewhere that is done
     * here, since the Hub's own answer names the content.
     */
    inBrowser?: boolean
  }) {
    this.id = options.id
    this.revision = options.revision
    this.endpoint = options.endpoint
    this.patience = options.patience
    this.signal = options.signal
    this.#token = checkToken(options.token)
    this.#fetch = options.fetch ?? fetch
    this.#inBrowser = options.inBrowser ?? false
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
    const url = `${this.#api()}/revision/${encodeURIComponent(this.revision)}?expand=sha&expand=siblings`
    const info = parseJson(await (await this.#ask(url, patience)).text(), url)
    const files = fileNames(info)
    const commit = commitOf(info, this)
    return { commit, files: files.length > 0 ? files : undefined }
  }

  /** The files at the top of the repository. */
  async list(commit: string): Promise<Map<string, RemoteFile>> {
    const files = new Map<string, RemoteFile>()
    let url: string | undefined = `${this.#api()}/tree/${commit}?recursive=false&expand=false`
    while (url !== undefined) {
      const page: Response = await this.#ask(url, this.patience)
      for (const file of filesOf(parseJson(await page.text(), url), this.id)) files.set(file.path, file)
      url = nextPage(page)
    }
    return files
  }

  /** The files of a commit, to be transferred. */
  at(commit: string): Origin {
    const { patience, signal } = this
    return { patience, signal, open: (file, offset, signal) => this.#open(commit, file, offset, signal) }
  }

  /** A server may ignore or refuse the range: then the bytes start at 0. */
  async #open(commit: string, file: RemoteFile, offset: number, signal: AbortSignal): Promise<Opened> {
    // No If-Range: a browser would first ask the Hub's storage for leave, and get none. Tags are compared instead.
    const headers = { "accept-encoding": "identity", ...(offset > 0 && { range: `bytes=${offset}-` }) }
    // A browser's cache would keep the bytes a second time, and give the same again when a hash is wrong.
    const init: RequestInit = this.#inBrowser ? { redirect: "follow", cache: "no-store" } : { redirect: "manual" }
    let url = fileUrl(this.endpoint, this.id, commit, file.path)
    for (let hop = 0; hop < 8; hop++) {
      const response = await this.#request(file.path, url, { ...init, headers, signal })
      this.#expectSame(file, response)
      const location = response.headers.get("location")
      if (response.status >= 300 && response.status < 400 && URL.canParse(location ?? "", url)) {
        await response.body?.cancel()
        url = new URL(location!, url).href
      } else if (response.ok) {
        const start = rangeStart(file, response, offset)
        return { start, tag: tagOf(response, "etag"), body: bytesOf(response, file.path, response.url || url) }
      } else if (response.status === 416 && offset > 0) {
        await response.body?.cancel()
        return this.#open(commit, file, 0, signal)
      } else {
        throw await this.#refusal(file, response.url || url, response)
      }
    }
    throw new HubError("server", `${file.path}: redirects are more than 8, the last to ${new URL(url).host}`)
  }

  /** A question with a short answer: retried, timed, and with errors that say what to do. */
  async #ask(url: string, patience: Patience): Promise<Response> {
    const backoff = new Backoff(patience, this.signal)
    while (true) {
      try {
        const signal = this.#within(AbortSignal.timeout(patience.stall))
        const response = await this.#request(this.id, url, { headers: { accept: "application/json" }, signal })
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

  #api(): string {
    return `${this.endpoint}/api/models/${this.id}`
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
    const etag = tagOf(response, "x-linked-etag")
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
    return { endpoint, id, revision, hasToken: this.#token !== undefined, inBrowser: this.#inBrowser }
  }
}

function tagOf(response: Response, header: string): string | undefined {
  return response.headers.get(header)?.replace(/^W\//, "").replaceAll('"', "")
}

/** @throws HubError when the answer belongs to a file of another size */
function rangeStart(file: RemoteFile, response: Response, offset: number): number {
  if (response.status !== 206) return 0
  const range = response.headers.get("content-range")
  if (range === null && response.type === "cors") return offset // the host does not show it; the hash is checked anyway
  const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range ?? "") ?? []
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
