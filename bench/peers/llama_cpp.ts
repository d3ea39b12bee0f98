import { join } from "node:path"
import { getLlama, LlamaLogLevel } from "node-llama-cpp"
import { madeOnce } from "./checkpoint.ts"
import { type GgufType, writeGguf } from "./gguf.ts"
import { CONTEXT, type Peer } from "./peer.ts"

/** llama.cpp on one thread of the CPU: what native code does with the same weights. */
export function peer(dtype: string): Peer {
  const folder = () => madeOnce(`gguf-${dtype}`, (to) => writeGguf(join(to, "model.gguf"), dtype as GgufType))
  return {
    async prepare() {
      await folder()
    },
    async load() {
      const options = { gpu: false, build: "never", skipDownload: true, maxThreads: 1 } as const
      const llama = await getLlama({ ...options, logLevel: LlamaLogLevel.error, progressLogs: false })
      const model = await llama.loadModel({ modelPath: join(await folder(), "model.gguf") })
      const context = await model.createContext({ contextSize: CONTEXT, batchSize: 512, threads: 1 })
      const sequence = context.getSequence()
      return {
        device: `llama.cpp ${llama.llamaCppRelease.release}, ${llama.systemInfo}`,
        async generate(ids, tokens, onToken) {
          await sequence.clearHistory()
          let count = 0
          for await (const id of sequence.evaluate([...ids], { temperature: 0, yieldEogToken: true })) {
            onToken(id)
            if (++count === tokens) break
          }
        },
      }
    },
  }
}
