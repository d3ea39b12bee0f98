import { stat } from "node:fs/promises"
import { join } from "node:path"
import type { Command } from "commander"
import { directoryStore, formatBytes, merge } from "../src/index.ts"
import { interruptible } from "./interrupt.ts"
import { modelName, withProgress } from "./model.ts"
import { addAdapterOption, addCheckpointOptions, addJsonOption, type CheckpointFlags } from "./options.ts"
import { expectOutFolder } from "./out_folder.ts"
import { printJson, shellWord } from "./output.ts"

interface Flags extends CheckpointFlags {
  readonly adapter?: string[]
  readonly out?: string
  readonly force?: boolean
}

const EXAMPLES = `
Examples:
  gemlet merge --adapter path/to/adapter --out merged
  gemlet merge --model google/gemma-3-270m --adapter french --adapter polite --out merged
  gemlet generate --model merged "Once upon a time"`

export function define(command: Command): void {
  command.description(
    "Adds adapters to a model's weights: a checkpoint folder that needs no adapter. Needs no GPU; weights keep their types.",
  )
  addAdapterOption(addCheckpointOptions(command))
  addJsonOption(command, "print one object: where it lies and its bytes")
    .option("-o, --out <folder>", "where to write the checkpoint")
    .option("--force", "write into a folder that is not empty")
    .addHelpText("after", EXAMPLES)
    .action(mergeModel)
}

async function mergeModel(flags: Flags): Promise<void> {
  const { model, adapter: adapters = [], out, force, revision, ignoreKey: ignoreKeys } = flags
  if (adapters.length === 0) throw new RangeError("--adapter: is missing, expected the folder of an adapter")
  if (out === undefined) throw new RangeError("--out: is missing, expected a folder to write the checkpoint into")
  await expectOutFolder(out, { force, read: [model, ...adapters], otherwise: "--force writes into it" })
  await interruptible((signal) =>
    withProgress(signal, (onProgress) =>
      merge(model, adapters, directoryStore(out), { revision, ignoreKeys, signal, onProgress }),
    ),
  )
  const { size: bytes } = await stat(join(out, "model.safetensors"))
  if (flags.json) printJson({ model: modelName(flags), adapters, out, bytes })
  else process.stdout.write(`${out}: ${formatBytes(bytes)}, for gemlet generate --model ${shellWord(out)}\n`)
}
