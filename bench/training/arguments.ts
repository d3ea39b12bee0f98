import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import {
  type DeviceKind,
  dataFiles,
  directoryStore,
  isDataFile,
  openDataset,
  type TuneOptions,
} from "../../src/index.ts"

export const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string", default: "auto" },
    data: { type: "string" },
    seed: { type: "string", default: "0" },
    family: { type: "string", default: "hgrn_bit" },
    method: { type: "string", default: "lora" },
    rank: { type: "string", default: "16" },
    rate: { type: "string", default: "1e-3" },
    steps: { type: "string" },
    init: { type: "string" },
    out: { type: "string" },
    store: { type: "string" },
  },
})
export const device = values.device as DeviceKind
export const seed = Number(values.seed)

export const STORYTELLER = fileURLToPath(new URL("../../weights/storyteller", import.meta.url))

/** What `--data` names. */
export async function dataset() {
  if (values.data === undefined) throw new RangeError("--data: is missing, expected a file")
  return openDataset(await dataFiles([values.data], isDataFile))
}

/** Where the run keeps itself, if that was asked for. */
export function kept(): TuneOptions {
  if (!values.store) return {}
  return {
    store: directoryStore(values.store),
    saveEvery: 10,
    resume: existsSync(`${values.store}/training.safetensors`),
  }
}
