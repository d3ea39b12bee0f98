import { copyFile, mkdir, symlink } from "node:fs/promises"
import { dirname, join } from "node:path"
import { AutoModelForCausalLM, env, Tensor } from "@huggingface/transformers"
import { checkpointWithTokenizer, madeOnce } from "./checkpoint.ts"
import { gemmaOnnx, type OnnxType, onnxName } from "./gemma_onnx.ts"
import type { Peer } from "./peer.ts"

/** transformers.js, which in Node runs on onnxruntime-node. */
export function peer(dtype: string): Peer {
  const type = dtype as OnnxType
  return {
    async prepare() {
      await hubFolder(type)
    },
    async load() {
      const folder = await hubFolder(type)
      env.allowRemoteModels = false
      env.localModelPath = dirname(folder)
      const options = { dtype, device: "webgpu", use_external_data_format: true }
      const model = await AutoModelForCausalLM.from_pretrained(folder.slice(dirname(folder).length + 1), options)
      return {
        async generate(ids, tokens, onToken) {
          const put = ([given]: bigint[][]) => {
            if (given!.length === 1) onToken(Number(given![0])) // the prompt comes first, as one
          }
          await model.generate({
            inputs: new Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]),
            attention_mask: new Tensor("int64", new BigInt64Array(ids.length).fill(1n), [1, ids.length]),
            max_new_tokens: tokens,
            do_sample: false,
            eos_token_id: null,
            streamer: { put, end() {} },
          })
        },
      }
    },
  }
}

/** A folder as the Hub has them: configs beside `onnx/`. */
function hubFolder(type: OnnxType): Promise<string> {
  return madeOnce(`transformers-${type}`, async (folder) => {
    for (const file of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
      await copyFile(join(await checkpointWithTokenizer(), file), join(folder, file))
    }
    await mkdir(join(folder, "onnx"))
    for (const file of [onnxName(type), `${onnxName(type)}_data`]) {
      await symlink(join(await gemmaOnnx(type), file), join(folder, "onnx", file))
    }
  })
}
