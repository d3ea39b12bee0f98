import { expectInside, expectRange, type Folder, memorySource, type Source } from "./source.ts"

export interface UrlOptions {
  /** Used instead of the global fetch. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>
  /** Sent with every request, such as an authorization. */
  headers?: Record<string, string>
}

/** The first request asks for this much, which holds a small JSON file or most safetensors headers. */
const FIRST_BYTES = 64 * 1024
/** A server that ignores ranges sends the whole file: that is accepted up to this size. */
const WHOLE_LIMIT = 64 * 2 ** 20

/**
 * A file on a web server, read with range requests.
 *
 * A server without ranges is tolerated for files up to 64 MiB, which are then held in memory; larger ones are an error.
 */
export async function urlSource(url: string, options: UrlOptions = {}): Promise<Source> {
  const source = await openUrl(url, options)
  if (!source) throw new Error(`${url}: status is 404, expected 206`)
  return source
}

/**
 * A folder on a web server: file names are appended to the base URL, a query string stays. The URL of a GGUF file asks for that
 * file of the folder that it lies in.
 */
export function urlFolder(baseUrl: string, options: UrlOptions = {}): Folder {
  const base = new URL(baseUrl, globalThis.location?.href)
  const [, above = "", gguf] = /^(.*)\/([^/]+\.gguf)$/i.exec(base.pathname) ?? []
  if (gguf !== undefined) base.pathname = above
  return {
    name: gguf === undefined ? baseUrl : `${base.origin}${above}`,
    file: gguf && decodeURIComponent(gguf),
    async open(name) {
      expectInside(baseUrl, name)
      const url = new URL(base)
      url.pathname = `${url.pathname.replace(/\/$/, "")}/${name.split("/").map(encodeURIComponent).join("/")}`
      return await openUrl(url.href, options)
    },
  }
}

async function openUrl(url: string, options: UrlOptions): Promise<Source | undefined> {
  const response = await request(url, options, { range: `bytes=0-${FIRST_BYTES - 1}` })
  const range = contentRange(response)
  switch (response.status) {
    case 404:
    case 410:
      await response.body?.cancel()
      return undefined
    case 416: // how an empty file answers any range
      await response.body?.cancel()
      if (range && range.total !== 0) throw new Error(`${url}: status is 416 for ${range.total} bytes, expected 206`)
      return memorySource(new Uint8Array(0), url)
    case 200:
      return memorySource(await wholeBody(url, response), url)
    case 206: {
      if (range && range.start !== 0) throw new Error(`${url}: range starts at ${range.start}, expected 0`)
      const first = await body(url, response, FIRST_BYTES)
      const total = range?.total ?? (first.byteLength < FIRST_BYTES ? first.byteLength : await headLength(url, options))
      if (first.byteLength !== Math.min(total, FIRST_BYTES)) {
        throw new Error(`${url}: body is ${first.byteLength} bytes, expected ${Math.min(total, FIRST_BYTES)}`)
      }
      return rangedSource(url, options, first, total, strongTag(response))
    }
    default:
      await response.body?.cancel()
      throw new Error(`${url}: status is ${response.status}, expected 206${hint(response.status)}`)
  }
}

/** A source whose first bytes are at hand and whose others are fetched as they are asked for. */
function rangedSource(url: string, options: UrlOptions, first: Uint8Array, total: number, tag: string | null): Source {
  return {
    byteLength: total,
    async slice(start, end) {
      expectRange(url, start, end, total)
      if (end <= first.byteLength || start === end) return first.slice(start, end).buffer as ArrayBuffer
      const response = await request(url, options, { range: `bytes=${start}-${end - 1}` })
      const range = contentRange(response)
      const fault =
        response.status !== 206
          ? `status is ${response.status}, expected 206${hint(response.status)}`
          : range && range.start !== start
            ? `range starts at ${range.start}, expected ${start}`
            : range?.total !== undefined && range.total !== total
              ? `length is now ${range.total}, expected ${total} (did the file change?)`
              : tag !== null && (strongTag(response) ?? tag) !== tag
                ? `etag is now ${strongTag(response)}, expected ${tag} (did the file change?)`
                : undefined
      if (fault) {
        await response.body?.cancel()
        throw new Error(`${url}: ${fault}`)
      }
      const bytes = await body(url, response, end - start)
      if (bytes.byteLength !== end - start) {
        throw new Error(`${url}: body is ${bytes.byteLength} bytes, expected ${end - start}`)
      }
      return bytes.buffer as ArrayBuffer
    },
  }
}

async function request(url: string, options: UrlOptions, headers: Record<string, string>, method = "GET") {
  const get = options.fetch ?? ((url: string, init: RequestInit) => fetch(url, init))
  try {
    return await get(url, { method, headers: { ...options.headers, ...headers } })
  } catch (error) {
    throw new Error(`${url}: request failed (${reason(error)})`, { cause: error })
  }
}

async function wholeBody(url: string, response: Response): Promise<Uint8Array> {
  const length = Number(response.headers.get("content-length") ?? 0)
  if (length <= WHOLE_LIMIT) return await body(url, response, WHOLE_LIMIT)
  await response.body?.cancel()
  throw new Error(`${url}: status is 200 for ${length} bytes, expected 206 (the server ignores range requests)`)
}

/** The body, which must not be longer than `limit`; nothing beyond it is buffered. */
async function body(url: string, response: Response, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  const reader = response.body?.getReader()
  try {
    for (let read = await reader?.read(); read && !read.done; read = await reader?.read()) {
      length += read.value.byteLength
      if (length > limit) break
      chunks.push(read.value)
    }
  } catch (error) {
    throw new Error(`${url}: connection broke after ${length} bytes (${reason(error)})`, { cause: error })
  }
  if (length > limit) {
    await reader?.cancel()
    throw new Error(
      `${url}: body is over ${limit} bytes, expected at most that (does the server ignore range requests?)`,
    )
  }
  const bytes = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.byteLength
  }
  return bytes
}

/** The length by a HEAD request, for servers whose Content-Range the browser hides. */
async function headLength(url: string, options: UrlOptions): Promise<number> {
  const response = await request(url, options, {}, "HEAD")
  const length = response.headers.get("content-length")
  if (!response.ok || !length || !/^\d+$/.test(length) || response.headers.has("content-encoding")) {
    throw new Error(`${url}: length is hidden, expected a Content-Range or Content-Length header`)
  }
  return Number(length)
}

/** `bytes 0-99/1234`, `bytes 0-99/*` or `bytes * /1234`; undefined when the header is absent or hidden. */
function contentRange(response: Response): { start: number | undefined; total: number | undefined } | undefined {
  const match = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "")
  if (!match) return undefined
  const [, start, total] = match
  return { start: start === undefined ? undefined : Number(start), total: total === "*" ? undefined : Number(total) }
}

function strongTag(response: Response): string | null {
  const tag = response.headers.get("etag")
  return tag?.startsWith('"') ? tag : null
}

function hint(status: number): string {
  if (status === 401 || status === 403) return " (is a token needed?)"
  if (status === 200) return " (the server ignores range requests)"
  return ""
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
