import { readFile } from "node:fs/promises"
import { join } from "node:path"
import ort from "onnxruntime-web/webgpu"
import { create, globals } from "webgpu"
import { gemmaOnnx, type OnnxType, onnxName } from "./gemma_onnx.ts"
import { CACHES_ON_GPU, decodeGreedily } from "./onnx_decode.ts"
import type { Peer } from "./peer.ts"

/** onnxruntime's build for browsers: WebAssembly over `navigator.gpu`, which here is the Dawn that gemlet has too. */
export function peer(dtype: string): Peer {
  const type = dtype as OnnxType
  return {
    async prepare() {
      await gemmaOnnx(type)
    },
    async load() {
      provideNavigator()
      const wasm = new URL("node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.wasm", import.meta.url)
      ort.env.wasm.wasmBinary = await readFile(wasm)
      ort.env.wasm.numThreads = 1
      const [folder, name] = [await gemmaOnnx(type), onnxName(type)]
      const session = await ort.InferenceSession.create(await readFile(join(folder, name)), {
        executionProviders: ["webgpu"],
        preferredOutputLocation: CACHES_ON_GPU,
        externalData: [{ path: `${name}_data`, data: await readFile(join(folder, `${name}_data`)) }],
        logSeverityLevel: 3,
      })
      return {
        generate: (ids, tokens, onToken) => decodeGreedily(ort, session, type.endsWith("16"), ids, tokens, onToken),
      }
    },
  }
}

function provideNavigator(): void {
  Object.assign(globalThis, globals)
  copySharedMemory()
  Object.defineProperty(globalThis, "navigator", { value: { gpu: create([]), userAgent: "node" }, configurable: true })
}

/** Browsers take views of WebAssembly's shared memory; Dawn's addon for Node refuses them. */
function copySharedMemory(): void {
  const { writeBuffer } = GPUQueue.prototype
  GPUQueue.prototype.writeBuffer = function (this: GPUQueue, buffer, offset, data, start = 0, size) {
    const shared = ArrayBuffer.isView(data) && data.buffer instanceof SharedArrayBuffer
    if (!shared) return writeBuffer.call(this, buffer, offset, data, start, size)
    const end = size === undefined ? undefined : start + size
    return writeBuffer.call(this, buffer, offset, (data as unknown as Uint8Array).slice(start, end))
  } as GPUQueue["writeBuffer"]
}
