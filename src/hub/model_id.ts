/** Names on the Hub: what is accepted and which address it becomes. No platform imports: the browser uses this too. */

export const DEFAULT_ENDPOINT = "https://huggingface.co"
export const DEFAULT_REVISION = "main"

/** Whether `text` can name a model on the Hub: `owner/name`, or `name` alone for the oldest models. */
export function isModelId(text: string): boolean {
  const parts = text.split("/")
  return (
    parts.length <= 2 &&
    text.length <= 96 &&
    parts.every((part) => /^\w([\w.-]*\w)?$/.test(part)) &&
    !/--|\.\.|\.git$/.test(text)
  )
}

/** A model on the Hub as users name it: `owner/name`, or `owner/name/FILE.gguf` for one file where there are several. */
export interface HubLocation {
  readonly id: string
  readonly file: string | undefined
}

/** Reads such a name; undefined for what is none. */
export function hubLocation(text: string): HubLocation | undefined {
  const [, id = text, file] = /^([^/]+\/[^/]+)\/([^/]+\.gguf)$/i.exec(text) ?? []
  return isModelId(id) ? { id, file } : undefined
}

/** @throws RangeError for what cannot be a model id. */
export function checkModelId(id: string): string {
  if (isModelId(id)) return id
  throw new RangeError(`model: id is ${JSON.stringify(id)}, expected owner/name as on the Hub (or an existing folder)`)
}

/** A revision becomes a path under `refs/`, hence the care. @throws RangeError */
export function checkRevision(revision: string): string {
  const parts = revision.split("/")
  if (parts.every((part) => /^[\w.+-]+$/.test(part) && !/^\.+$/.test(part))) return revision
  throw new RangeError(`revision: name is ${JSON.stringify(revision)}, expected a branch, tag or commit`)
}

/** A token as a header can carry it. @throws RangeError, which does not show it */
export function checkToken(token: string | undefined): string | undefined {
  if (token === undefined || /^[\x21-\x7e]+$/.test(token)) return token
  throw new RangeError("token: has spaces or signs that no token has, expected one as the Hub gives it (hf_...)")
}

/** Whether a revision is a full commit hash, which never changes its content. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision)
}

/** The Hub's address without a trailing slash. @throws RangeError for what is no web address. */
export function checkEndpoint(endpoint: string): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined
  if (url?.protocol === "https:" || url?.protocol === "http:") return endpoint.replace(/\/+$/, "")
  throw new RangeError(`endpoint: address is ${JSON.stringify(endpoint)}, expected a URL such as ${DEFAULT_ENDPOINT}`)
}

/** Where a file of a model is served. */
export function fileUrl(endpoint: string, id: string, revision: string, file: string): string {
  return `${endpoint}/${id}/resolve/${encodeURIComponent(revision)}/${file.split("/").map(encodeURIComponent).join("/")}`
}
