import type { Command } from "commander"
import { loadModel } from "./model.ts"
import { addCheckpointOptions, addDtypeOption, type CheckpointFlags, type ModelFlags } from "./options.ts"
import { NO_CACHE, type Run, runTraining } from "./training.ts"
import {
  addDataOptions,
  addMemoryOptions,
  addMethodOptions,
  addOptimizationOptions,
  addRunOptions,
  addTrainingJsonOption,
  type MethodFlags,
  type TrainingFlags,
  tuneOptions,
} from "./training_options.ts"
import { commandLine } from "./training_report.ts"

type Flags = CheckpointFlags & MethodFlags & TrainingFlags & Pick<ModelFlags, "dtype">

/** What the help says of defaults. */
export const DEFAULTS = {
  steps: "200",
  lr: "1e-4 for lora, 3e-4 for lamda, 2e-5 for full",
  warmup: "3 % of all",
  weightDecay: "0.01",
  beta2: "0.999",
}

const EXAMPLES = `
Data: one JSON object a line, {"text": ...}, {"prompt": ..., "completion": ...} or {"messages": [...]}; .txt and .md files are a text each.
Ctrl-C finishes the step, saves and tells how to go on; so does --resume after a crash, from the last checkpoint.

Examples:
  gemlet tune --data stories.jsonl
  gemlet tune --model google/gemma-3-270m-it --data chats/ --rank 16 --steps 500 --out polite
  gemlet tune --data stories.jsonl --method lamda --rank 32 --out lamda
  gemlet tune --data stories.jsonl --method full --lr 1e-5 --rows-at-once 1 --recompute --out tuned
  gemlet tune --model google/gemma-3-1b-it --data chats/ --dtype q4 --out polite
  gemlet tune --resume --out polite
  gemlet generate --adapter adapter "Once upon a time"`

export function define(command: Command): void {
  command.description(
    "Fine-tunes a model on texts or conversations: a small adapter beside it by default, or all of its weights.",
  )
  addRunOptions(addDtypeOption(addCheckpointOptions(command)), "adapter, or model with --method full")
  addMethodOptions(addDataOptions(command))
  addTrainingJsonOption(addMemoryOptions(addOptimizationOptions(command, DEFAULTS)))
    .addHelpText("after", EXAMPLES)
    .action((_flags: Flags, command: Command) =>
      runTraining<Flags>(command, {
        defaultOut: ({ method }) => (method === "full" ? "model" : "adapter"),
        paths: ["model", "data", "heldOut"],
        options: tuneOptions,
        load: ({ flags: { model, revision, ignoreKey, device = "auto", method, dtype } }, signal) =>
          loadModel({ model, revision, ignoreKey, device, context: NO_CACHE }, signal, {
            dtype: dtype ?? (method === "full" ? "f32" : undefined),
          }),
        use,
      }),
    )
}

function use({ flags: { model, revision, method }, out }: Run<Flags>): string {
  const words = ["gemlet", "generate", '"Once upon a time"']
  if (method === "full") return commandLine(words, { "--model": out })
  return commandLine(words, { "--model": model, "--revision": revision, "--adapter": out })
}
