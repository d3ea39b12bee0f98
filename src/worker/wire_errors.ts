import { HubError, type HubErrorCode } from "../hub/errors.ts"
import { GpuError, type GpuErrorKind } from "../kernels/errors.ts"

/** An error as plain values, for `structuredClone` keeps neither own classes nor what they add. */
export interface WireError {
  /** The class, of a DOMException its name. */
  readonly name: string
  readonly message: string
  readonly stack?: string | undefined
  readonly cause?: WireError | undefined
  /** A DOMException, such as what an AbortController gives. */
  readonly dom?: boolean
  /** Of a GpuError. */
  readonly kind?: GpuErrorKind
  /** Of a HubError. */
  readonly code?: HubErrorCode
  readonly retryAfter?: number | undefined
}

/** `died`: its script failed, or it is gone; `terminated`: the page has ended it. */
export type WorkerErrorKind = "died" | "terminated"

/** There is no engine any more: all that was asked of it fails with this, and all that will be. */
export class WorkerError extends Error {
  override readonly name = "WorkerError"
  readonly kind: WorkerErrorKind
  constructor(kind: WorkerErrorKind, message: string, options?: ErrorOptions) {
    super(message, options)
    this.kind = kind
  }
}

const BUILT_IN = { Error, RangeError, TypeError, SyntaxError, ReferenceError, EvalError, URIError }
/** Causes of causes that are kept: errors may be their own. */
const MOST_CAUSES = 8

/** What was thrown, as it goes across. */
export function toWire(thrown: unknown, causes = MOST_CAUSES): WireError {
  if (!(thrown instanceof Error)) return { name: "Error", message: String(thrown) }
  const { name, message, stack } = thrown
  const cause = thrown.cause === undefined || causes === 0 ? undefined : toWire(thrown.cause, causes - 1)
  const plain = { name, message, stack, cause }
  if (thrown instanceof GpuError) return { ...plain, kind: thrown.kind }
  if (thrown instanceof HubError) return { ...plain, code: thrown.code, retryAfter: thrown.retryAfter }
  return thrown instanceof DOMException ? { ...plain, dom: true } : plain
}

/** The error that was thrown at the other end: of its class, with its message, and its stack there. */
export function fromWire(wire: WireError): Error {
  const error = revive(wire)
  if (wire.stack !== undefined) Object.defineProperty(error, "stack", { value: wire.stack, configurable: true })
  return error
}

function revive({ name, message, cause, dom, kind, code, retryAfter }: WireError): Error {
  const options = cause && { cause: fromWire(cause) }
  if (kind) return new GpuError(kind, message, options)
  if (code) return new HubError(code, message, { ...options, retryAfter })
  if (dom) return new DOMException(message, name)
  if (Object.hasOwn(BUILT_IN, name)) return new BUILT_IN[name as keyof typeof BUILT_IN](message, options)
  return Object.assign(new Error(message, options), { name })
}
