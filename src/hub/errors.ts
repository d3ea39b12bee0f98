/**
 * What went wrong between here and the Hub:
 * `access` gated or refused, `missing` no such model, revision or file, `network` no answer, `server` a failing answer,
 * `corrupt` wrong bytes, `changed` the repository moved meanwhile, `space` a full disk, `unsupported` no weights that are read, `busy` underway elsewhere.
 */
export type HubErrorCode =
  | "access"
  | "missing"
  | "network"
  | "server"
  | "corrupt"
  | "changed"
  | "space"
  | "unsupported"
  | "busy"

/** A failed download. The message says what to do. */
export class HubError extends Error {
  readonly code: HubErrorCode
  /** How long a busy server asked to be left alone, in ms. */
  readonly retryAfter: number | undefined

  constructor(code: HubErrorCode, message: string, options: { cause?: unknown; retryAfter?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = "HubError"
    this.code = code
    this.retryAfter = options.retryAfter
  }
}

/** What an error about an answer needs to know of the question. */
export interface Asked {
  endpoint: string
  id: string
  revision: string
  /** Absent when the question was about the whole repository. */
  file?: string
  hasToken: boolean
  /** There are no environment and no folders then. */
  inBrowser?: boolean | undefined
}

/** The error of an answer that is not OK. `body` is its text, for the Hub's own message. */
export function answerError(response: Response, asked: Asked, body = ""): HubError {
  const { status, headers } = response
  const code = headers.get("x-error-code") ?? ""
  const message = headers.get("x-error-message") ?? messageOf(body)
  const { endpoint, id, revision, file, hasToken, inBrowser } = asked
  const giveToken = inBrowser ? "give a token" : "set HF_TOKEN"
  if (status === 429 || status === 408 || status >= 500) {
    return new HubError("server", `${file ?? id}: ${endpoint} answers ${status}${message && ` (${message})`}`, {
      retryAfter: parseRetryAfter(headers.get("retry-after")),
    })
  }
  if (code === "GatedRepo") {
    const page = `${endpoint}/${id}`
    const what = hasToken
      ? `access is gated and this token has none; accept the licence at ${page} with the token's account, and let the token read gated repositories`
      : `access is gated; accept the licence at ${page} and ${giveToken}`
    return new HubError("access", `${id}: ${what}`)
  }
  if (status === 401 && /invalid credentials/i.test(message) && hasToken) {
    const unset = inBrowser ? "give none" : "unset HF_TOKEN"
    const what = `the token is refused by ${endpoint}; make a new one at ${endpoint}/settings/tokens, or ${unset}`
    return new HubError("access", `${id}: ${what}`)
  }
  if (code === "RevisionNotFound") {
    return new HubError("missing", `${id}: revision is ${revision}, expected a branch, tag or commit of the repository`)
  }
  if (code === "EntryNotFound" || (status === 404 && file !== undefined && code !== "RepoNotFound")) {
    return new HubError("missing", `${id}: ${file ?? "a file"} is missing at revision ${revision}`)
  }
  if (code === "RepoNotFound" || status === 401 || status === 404) {
    const token = hasToken ? "this token cannot see it" : `it is private (${giveToken})`
    const folder = inBrowser ? "" : "; did you mean a local folder? There is none of that name"
    const what = `not found on ${endpoint}, or ${token}${folder}`
    return new HubError("missing", `${id}: ${what}`)
  }
  if (status === 403) {
    const token = hasToken ? `${inBrowser ? "give" : "give HF_TOKEN"} a token that may read it` : giveToken
    return new HubError("access", `${id}: access is refused by ${endpoint}${message && ` (${message})`}; ${token}`)
  }
  return new HubError(
    "server",
    `${file ?? id}: ${endpoint} answers ${status}${message && ` (${message})`}, expected 200`,
  )
}

/** The error of a request that got no answer, or lost it. */
export function networkError(subject: string, url: string, cause: unknown): HubError {
  return new HubError("network", `${subject}: ${new URL(url).host} gives no answer (${causeOf(cause)})`, { cause })
}

/** The innermost reason: `fetch failed` hides the one that helps. */
function causeOf(error: unknown): string {
  let reason = error
  while (reason instanceof Error && reason.cause instanceof Error) reason = reason.cause
  if (reason instanceof AggregateError && reason.errors.length > 0) reason = reason.errors[0]
  return reason instanceof Error ? reason.message || String((reason as { code?: unknown }).code) : String(reason)
}

function messageOf(body: string): string {
  try {
    const { error } = JSON.parse(body) as { error?: unknown }
    return typeof error === "string" ? error : ""
  } catch {
    return ""
  }
}

/** Seconds or a date, to milliseconds from now. */
function parseRetryAfter(value: string | null): number | undefined {
  if (value === null) return undefined
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}
