/** The GPU failed: no adapter, device lost, a shader that does not compile, out of memory. `kind` says which. */
export class GpuError extends Error {
  override readonly name = "GpuError"
  readonly kind: GpuErrorKind
  constructor(kind: GpuErrorKind, message: string, options?: ErrorOptions) {
    super(message, options)
    this.kind = kind
  }
}

export type GpuErrorKind = "no-adapter" | "lost" | "compile" | "out-of-memory" | "validation" | "disposed"
