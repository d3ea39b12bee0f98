import { type DeviceKind, type LoadOptions, load } from "../../src/index.ts"
import { checkpoint } from "./checkpoint.ts"
import { CONTEXT, type Peer } from "./peer.ts"

/** The checkpoint is in bf16: that is what it stays in without a dtype. */
export function peer(dtype: string, device: string): Peer {
  return {
    async prepare() {
      await checkpoint()
    },
    async load() {
      const form = dtype === "bf16" ? undefined : (dtype as LoadOptions["dtype"])
      const lm = await load(await checkpoint(), { device: device as DeviceKind, context: CONTEXT, dtype: form })
      return {
        device: lm.device.description,
        async generate(ids, tokens, onToken) {
          const answer = lm.generate(ids, { temperature: 0, maxTokens: tokens, ignoreEos: true })
          for await (const piece of answer) for (const id of piece.tokens) onToken(id)
        },
      }
    },
  }
}
