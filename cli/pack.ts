import { stat } from "node:fs/promises"
import { join } from "node:path"
import { type Command, Option } from "commander"
import { type DeviceKind, directoryStore, formatBytes, PACKINGS, type Packing, pack } from "../src/index.ts"
import { interruptible } from "./interrupt.ts"
import { withProgress } from "./model.ts"
import { addCheckpointOptions, addDeviceOption, addJsonOption, type CheckpointFlags, oneOf } from "./options.ts"
import { expectOutFolder } from "./out_folder.ts"
import { printJson, shellWord } from "./output.ts"

interface Flags extends CheckpointFlags {
  readonly device: DeviceKind
  readonly packing: Packing
  readonly out?: string
  readonly force?: boolean
}

const EXAMPLES = `
Examples:
  gemlet pack --model ridger/MMfreeLM-370M --out packed
  gemlet pack --model path/to/checkpoint --packing base3 --out packed
  gemlet generate --model packed "Once upon a time"`

export function define(command: Command): void {
  command.description(
    "Writes a MatMul-free model with its weights as the trits that it computes with: 2 bits each instead of 16. " +
      "What is packed runs and takes adapters; to train all of it one needs the weights that it came from.",
  )
  addDeviceOption(addCheckpointOptions(command))
  addJsonOption(command, "print one object: where it lies and its bytes")
    .addOption(
      new Option("--packing <how>", "two-bit, four weights to a byte, or base3, 256 in 52 bytes")
        .argParser(oneOf("--packing", PACKINGS))
        .default("two-bit"),
    )
    .option("-o, --out <folder>", "where to write the checkpoint")
    .option("--force", "write into a folder that is not empty")
    .addHelpText("after", EXAMPLES)
    .action(packModel)
}

async function packModel({ model, out, force, packing, device, revision, ignoreKey, json }: Flags): Promise<void> {
  if (model === undefined) throw new RangeError("--model: is missing, expected a model of type hgrn_bit")
  if (out === undefined) throw new RangeError("--out: is missing, expected a folder to write the checkpoint into")
  await expectOutFolder(out, { force, read: [model], otherwise: "--force writes into it" })
  await interruptible((signal) =>
    withProgress(signal, (onProgress) =>
      pack(model, directoryStore(out), { packing, device, revision, ignoreKeys: ignoreKey, signal, onProgress }),
    ),
  )
  const { size: bytes } = await stat(join(out, "model.safetensors"))
  if (json) printJson({ model, packing, out, bytes })
  else process.stdout.write(`${out}: ${formatBytes(bytes)}, for gemlet generate --model ${shellWord(out)}\n`)
}
