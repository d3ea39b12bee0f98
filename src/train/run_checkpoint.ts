import type { Model } from "../model/model.ts"
import { writeValues } from "../model/parameter.ts"
import { adapterFiles } from "../model/peft.ts"
import { formatPeftConfig } from "../model/peft_config.ts"
import { writeSafetensors } from "../model/safetensors.ts"
import type { Store } from "../model/store.ts"
import { factorEntries, toPeft } from "./adapter_method.ts"
import { lossCurveSvg } from "./curve.ts"
import { modelEntries, weightEntries } from "./model_files.ts"
import type { RunPlan } from "./run_plan.ts"
import type { Trainer } from "./trainer.ts"
import { type CurvePoint, type TrainingFile, type TrainingState, writeTrainingFile } from "./training_file.ts"

/** A run as it is between two steps. */
export interface RunNow extends Pick<RunPlan, "attached"> {
  readonly model: Model
  readonly trainer: Trainer
  /** Of the curve's picture. */
  readonly title: string
  readonly settings: TrainingState["settings"]
  readonly batches: unknown
  readonly curve: readonly CurvePoint[]
  readonly note: unknown
}

/** Writes the adapter or weights for whoever uses them, what the run goes on from, and its loss curve. */
export async function writeCheckpoint(store: Store, run: RunNow): Promise<void> {
  const { model, trainer, attached, settings, batches, curve, note } = run
  const { device } = model
  if (attached) {
    const files = await adapterFiles(await toPeft(device, attached.adapter, attached.config))
    for (const [name, bytes] of files) await store.write(name, [bytes])
  } else {
    await store.write("model.safetensors", writeSafetensors(modelEntries(model), { format: "pt" }))
  }
  const weights = attached ? await factorEntries(device, attached.adapter) : weightEntries(model)
  const adapter = attached ? JSON.parse(formatPeftConfig(attached.config)) : null
  const state = { settings, adapter, step: trainer.steps, batches, curve, note }
  await writeTrainingFile(store, state, [...weights, ...trainer.stateEntries()])
  if (curve.length > 0) await store.write("loss.svg", [new TextEncoder().encode(curveSvg(run.title, curve))])
}

/**
 * Puts weights and optimizer where the run was left; an adapter's factors were read when it was made.
 *
 * @throws {RangeError} for what is missing from the file, or of another size
 */
export async function restoreCheckpoint(
  { state, read }: TrainingFile,
  model: Model,
  { trainables, attached }: Pick<RunPlan, "trainables" | "attached">,
  trainer: Trainer,
): Promise<void> {
  const expectEntry = async (name: string) => {
    const values = await read(name)
    if (values) return values
    throw new RangeError(`resume: ${name} is not in the checkpoint, expected it (is it of another model?)`)
  }
  if (!attached) {
    for (const { name, parameter } of trainables) {
      writeValues(model.device, parameter, await expectEntry(name))
    }
    model.derive()
  }
  await trainer.restore(state.step, expectEntry)
}

function curveSvg(title: string, curve: readonly CurvePoint[]): string {
  const training = curve.flatMap(({ step, loss }) => (loss === undefined ? [] : [{ step, loss }]))
  const heldOut = curve.flatMap(({ step, heldOut }) => (heldOut === undefined ? [] : [{ step, loss: heldOut }]))
  return lossCurveSvg({ title, training, heldOut })
}
