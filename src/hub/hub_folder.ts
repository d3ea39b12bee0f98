import { expectInside, type Folder, parseJson, type Source, urlSource } from "../model/source.ts"
import { fileNames } from "./answers.ts"
import { answerError, networkError } from "./errors.ts"
import {
  checkEndpoint,
  checkModelId,
  checkRevision,
  checkToken,
  DEFAULT_ENDPOINT,
  DEFAULT_REVISION,
  fileUrl,
} from "./model_id.ts"

export interface HubFolderOptions {
  /** The GGUF file to read; by default safetensors, or the only GGUF. */
  file?: string | undefined
  /** Branch, tag or commit; `main` by default. */
  revision?: string
  endpoint?: string
  token?: string | undefined
  fetch?: typeof fetch
  /** Errors speak of no environment then. */
  inBrowser?: boolean
}

/** A model on the Hub, read by ranges and stored nowhere: for browsers, and to look at headers alone. */
export function hubFolder(id: string, options: HubFolderOptions = {}): Folder {
  const { fetch: call = globalThis.fetch } = options
  const token = checkToken(options.token)
  const revision = checkRevision(options.revision ?? DEFAULT_REVISION)
  const endpoint = checkEndpoint(options.endpoint ?? DEFAULT_ENDPOINT)
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const asked = {
    endpoint,
    id: checkModelId(id),
    revision,
    hasToken: token !== undefined,
    inBrowser: options.inBrowser,
  }
  return {
    name: id,
    file: options.file,
    async list(): Promise<string[]> {
      const url = `${endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}`
      const response = await call(url, { headers }).catch((error: unknown) => {
        throw networkError(id, url, error)
      })
      const body = await response.text()
      if (!response.ok) throw answerError(response, asked, body)
      return fileNames(parseJson(body, url))
    },
    async open(file: string): Promise<Source | undefined> {
      expectInside(id, file)
      const url = fileUrl(endpoint, id, revision, file)
      const response = await call(url, { method: "HEAD", headers }).catch((error: unknown) => {
        throw networkError(file, url, error)
      })
      if (response.ok) return urlSource(url, { fetch: call, headers })
      const error = answerError(response, { ...asked, file })
      const isFileMissing =
        response.status === 404 && !/^(Repo|Revision)NotFound$/.test(response.headers.get("x-error-code") ?? "")
      if (isFileMissing) return undefined
      throw error
    },
  }
}
