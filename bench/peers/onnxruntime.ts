/** What the bench uses of onnxruntime, which is the same in its packages for Node and for browsers. */
export interface OrtModule {
  readonly Tensor: new (type: string, data: Float32Array | Uint16Array | BigInt64Array, dims: number[]) => Tensor
  readonly InferenceSession: {
    create(model: string | Uint8Array, options: Record<string, unknown>): Promise<InferenceSession>
  }
  readonly env: { readonly wasm: { numThreads?: number; wasmBinary?: Uint8Array } }
}

export interface InferenceSession {
  run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>
}

export interface Tensor {
  readonly data: unknown
  dispose(): void
}
