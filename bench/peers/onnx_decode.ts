// Greedy decoding over an onnxruntime session. Keys and values stay where the session put them.

import { SHAPE } from "./checkpoint.ts"
import type { InferenceSession, OrtModule, Tensor } from "./onnxruntime.ts"

const { layers, kvHeads, headDim, vocabulary } = SHAPE

const CACHES = Array.from({ length: layers }, (_, layer) => [`${layer}.key`, `${layer}.value`]).flat()

/** A session option: what goes back in as it came out is left on the GPU. */
export const CACHES_ON_GPU = Object.fromEntries(CACHES.map((name) => [`present.${name}`, "gpu-buffer"] as const))

export async function decodeGreedily(
  ort: OrtModule,
  session: InferenceSession,
  half: boolean,
  ids: readonly number[],
  tokens: number,
  onToken: (id: number) => void,
): Promise<void> {
  const nothing = () => {
    const shape = [1, kvHeads, 0, headDim]
    return half
      ? new ort.Tensor("float16", new Uint16Array(0), shape)
      : new ort.Tensor("float32", new Float32Array(0), shape)
  }
  const caches = new Map<string, Tensor>(CACHES.map((name) => [name, nothing()]))
  let next = ids
  let length = 0
  for (let count = 0; count < tokens; count++) {
    length += next.length
    const feeds: Record<string, Tensor> = {
      input_ids: new ort.Tensor("int64", BigInt64Array.from(next, BigInt), [1, next.length]),
      attention_mask: new ort.Tensor("int64", new BigInt64Array(length).fill(1n), [1, length]),
    }
    for (const [name, tensor] of caches) feeds[`past_key_values.${name}`] = tensor
    const results = await session.run(feeds)
    for (const [name, tensor] of caches) {
      tensor.dispose()
      caches.set(name, results[`present.${name}`]!)
    }
    const id = largest(results.logits!.data as Float32Array)
    onToken(id)
    next = [id]
  }
  for (const tensor of caches.values()) tensor.dispose()
}

function largest(logits: Float32Array): number {
  let best = 0
  for (let id = 1; id < vocabulary; id++) if (logits[id]! > logits[best]!) best = id
  return best
}
