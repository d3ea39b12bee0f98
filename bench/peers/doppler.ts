import { execFile } from "node:child_process"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { promisify } from "node:util"
import { load } from "doppler-gpu"
import { checkpointWithTokenizer, madeOnce } from "./checkpoint.ts"
import type { Peer } from "./peer.ts"

/** Its own settings for Gemma 3 270M, by what they make of the weights. */
const CONFIGS: Readonly<Record<string, string>> = { f16: "f16-af32", q4k: "q4k-ehf16-af32" }
const ROOT = new URL("node_modules/doppler-gpu/", import.meta.url)

/** doppler-gpu on Dawn in Node, with the checkpoint through its own converter. */
export function peer(dtype: string): Peer {
  const folder = () => madeOnce(`doppler-${dtype}`, (to) => convert(to, dtype))
  return {
    async prepare() {
      await folder()
    },
    async load() {
      const model = await load({ url: pathToFileURL(await folder()).href }, { onProgress() {} })
      return {
        device: String(model.deviceInfo?.description),
        async generate(ids, tokens, onToken) {
          model.resetGenerationState()
          // Ids take the place of the text, which must not be empty all the same.
          const options = { inputIds: [...ids], maxTokens: tokens, temperature: 0, useChatTemplate: false, onToken }
          for await (const _ of model.generate("-", options));
        },
      }
    },
  }
}

async function convert(to: string, dtype: string): Promise<void> {
  const tool = fileURLToPath(new URL("tools/convert-safetensors-node.js", ROOT))
  const shipped = new URL(`src/config/conversion/gemma3/gemma-3-270m-it-${CONFIGS[dtype]}.json`, ROOT)
  // That of q4k says no type of model, and what the converter then takes from the checkpoint has no pipeline.
  const settings = { ...JSON.parse(await readFile(shipped, "utf8")), modelType: "transformer" }
  const config = join(to, "conversion.json")
  await writeFile(config, JSON.stringify(settings))
  const args = [tool, await checkpointWithTokenizer(), "--config", config, "--output-dir", to]
  await promisify(execFile)(process.execPath, args, { cwd: to, maxBuffer: 2 ** 26 }) // where it is run it leaves a report
}
