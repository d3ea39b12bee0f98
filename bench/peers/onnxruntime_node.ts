import { join } from "node:path"
import ort from "onnxruntime-node"
import { gemmaOnnx, type OnnxType, onnxName } from "./gemma_onnx.ts"
import { CACHES_ON_GPU, decodeGreedily } from "./onnx_decode.ts"
import type { Peer } from "./peer.ts"

/** onnxruntime's build for Node: its WebGPU provider, with a Dawn of its own, or that for the CPU on one thread. */
export function peer(dtype: string, device: string): Peer {
  const type = dtype as OnnxType
  return {
    async prepare() {
      await gemmaOnnx(type)
    },
    async load() {
      const session = await ort.InferenceSession.create(join(await gemmaOnnx(type), onnxName(type)), {
        ...(device === "cpu"
          ? { executionProviders: ["cpu"] }
          : { executionProviders: ["webgpu"], preferredOutputLocation: CACHES_ON_GPU }),
        intraOpNumThreads: 1, // beside the GPU only shapes are computed on the CPU
        logSeverityLevel: 3,
      })
      return {
        generate: (ids, tokens, onToken) => decodeGreedily(ort, session, type.endsWith("16"), ids, tokens, onToken),
      }
    },
  }
}
