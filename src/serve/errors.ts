/** The types that OpenAI's API gives its errors. */
export type ErrorType = "invalid_request_error" | "authentication_error" | "rate_limit_error" | "server_error"

export interface ApiErrorDetails {
  readonly type?: ErrorType
  /** A word for programs. */
  readonly code?: string
  /** The field of the request that it is about. */
  readonly param?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly cause?: unknown
}

/** An error with the HTTP status and the shape that OpenAI's API gives it, so that its clients throw their own classes. */
export class ApiError extends Error {
  override readonly name = "ApiError"
  readonly status: number
  readonly details: ApiErrorDetails

  constructor(status: number, message: string, details: ApiErrorDetails = {}) {
    super(message, { cause: details.cause })
    this.status = status
    this.details = details
  }

  /** `{ error: { message, type, param, code } }`. */
  get body() {
    const { type = "invalid_request_error", param = null, code = null } = this.details
    return { error: { message: this.message, type, param, code } }
  }

  get response(): Response {
    return Response.json(this.body, { status: this.status, headers: this.details.headers })
  }
}

/** A field of the request that is not as it must be: status 400. */
export function badField(param: string, what: string, code?: string): ApiError {
  return new ApiError(400, `${param}: ${what}`, { param, code })
}

/** What a client is told of anything that was thrown. What is not the client's is ours: status 500. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new ApiError(500, message, { type: "server_error", code: "internal_error", cause: error })
}

/** Does something of the library's that checks what it is given; what it refuses is the client's to correct. */
export function checking<T>(param: string | undefined, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw refusal(param, error)
  }
}

/**
 * The library's own errors about values are built-in classes whose message names the subject first; those that the runtime
 * throws for a bug of ours do not, and stay what they are.
 */
export function refusal(param: string | undefined, error: unknown): unknown {
  const builtIn = error instanceof RangeError || error instanceof TypeError || error instanceof SyntaxError
  if (!builtIn || !/^[^:\n]+: /.test(error.message)) return error
  return new ApiError(400, error.message, { param, cause: error })
}
