// What the bench uses of packages that are installed for it alone (npm run bench:peers), so that types hold without them.

declare module "onnxruntime-node" {
  const ort: import("./onnxruntime.ts").OrtModule
  export default ort
}

declare module "onnxruntime-web/webgpu" {
  const ort: import("./onnxruntime.ts").OrtModule
  export default ort
}

declare module "@huggingface/transformers" {
  interface Tensor {
    readonly data: unknown
  }
  interface Streamer {
    put(ids: bigint[][]): void
    end(): void
  }
  interface Model {
    generate(options: Record<string, unknown> & { streamer: Streamer }): Promise<unknown>
  }
  export const Tensor: new (type: string, data: BigInt64Array, dims: number[]) => Tensor
  export const AutoModelForCausalLM: {
    from_pretrained(name: string, options: Record<string, unknown>): Promise<Model>
  }
  export const env: { allowRemoteModels: boolean; localModelPath: string }
}

declare module "doppler-gpu" {
  interface Model {
    readonly deviceInfo: Readonly<Record<string, unknown>> | null
    resetGenerationState(): void
    generate(prompt: string, options: Record<string, unknown>): AsyncIterable<string>
  }
  export function load(source: { url: string }, options: Record<string, unknown>): Promise<Model>
}

declare module "node-llama-cpp" {
  interface Sequence {
    clearHistory(): Promise<void>
    evaluate(ids: number[], options: Record<string, unknown>): AsyncIterable<number>
  }
  interface Model {
    createContext(options: Record<string, unknown>): Promise<{ getSequence(): Sequence }>
  }
  interface Llama {
    readonly llamaCppRelease: { readonly release: string }
    readonly systemInfo: string
    loadModel(options: Record<string, unknown>): Promise<Model>
  }
  export function getLlama(options: Record<string, unknown>): Promise<Llama>
  export const LlamaLogLevel: { readonly error: string }
}
