// Evaluates a model of Gemma 3 270M's shape, random weights and storyteller's tokenizer, at one long length: what a task takes from its making to its score,
// and the memory against what was told before. Appends a row to bench/results. Usage:
//   npm run bench:eval -- [--length 8192] [--dtype stored] [--device auto|gpu|software|lavapipe|swiftshader]
import { copyFile } from "node:fs/promises"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { evalData, evaluate, findTasks, modelIdentity } from "../src/eval/index.ts"
import {
  type DeviceKind,
  evalSources,
  kvCacheBytesFormula,
  load,
  loadBytes,
  open,
  packaged,
  type TransformerConfig,
  type WeightPrecision,
} from "../src/index.ts"
import { writeRandom270m } from "../test/helpers/random_270m.ts"
import { circumstances, record } from "./row.ts"

const { values } = parseArgs({
  options: {
    length: { type: "string", default: "8192" },
    dtype: { type: "string", default: "stored" },
    device: { type: "string", default: "auto" },
  },
})
const [context, dtype] = [Number(values.length), values.dtype as WeightPrecision]
const { folder } = await writeRandom270m()
for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
  await copyFile(join(packaged("storyteller"), file), join(folder, file))
}
const checkpoint = await open(folder)
const told = loadBytes(checkpoint, { context, dtype })
const lm = await load(folder, { device: values.device as DeviceKind, dtype, context })
const row = circumstances(lm.device)
const wanted = ["niah_magic", "position_loss"].flatMap(findTasks).map((task) => {
  return { task, request: { lengths: [context], depths: [50], samples: 1 } }
})
const tasks: object[] = []
const options = { data: evalData(evalSources()), of: await modelIdentity(lm, { dtype }) }
let began = performance.now()
for await (const { line } of evaluate(lm, wanted, options)) {
  const { task, promptTokens, answerTokens, ms, trouble, score } = line
  if (trouble) throw new Error(trouble)
  tasks.push({ task, promptTokens, answerTokens, score, ms, secondsWithItsMaking: (performance.now() - began) / 1000 })
  began = performance.now()
}
const { weights, cache, peak } = lm.memory
await record("eval", {
  ...row,
  model: "Gemma 3 270M's shape, random weights",
  dtype,
  context,
  tasks,
  memory: { weights, cache, peak },
  told: { weights: told.weights, cache: told.cache },
  cacheFormula: kvCacheBytesFormula(checkpoint.config as TransformerConfig, context, 4),
})
await lm.dispose()
await checkpoint.close()
