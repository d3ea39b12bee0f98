import { type Adapter, releaseNorms } from "../model/adapter.ts"
import type { Objective } from "../model/loss.ts"
import type { Model } from "../model/model.ts"
import { type PeftConfig, parsePeftConfig } from "../model/peft.ts"
import { internals, type LanguageModel } from "../session.ts"
import { adapterTrainables, initialFactors, readFactors } from "./adapter_method.ts"
import { allWeights } from "./full_method.ts"
import type { Optimizer } from "./optimizer.ts"
import { type Preflight, preflight } from "./preflight.ts"
import type { Trainable } from "./trained.ts"
import type { TrainingFile } from "./training_file.ts"
import type { TrainerOptions } from "./training_step.ts"
import type { TuneOptions, TuneSettings } from "./tune_options.ts"

/** What makes the loss of a run, and what the run is called by it. */
export interface RunObjective {
  readonly settings: unknown
  create(model: Model, tokens: number): Objective & { dispose(): void }
}

/** What is asked for. */
export interface RunRequest {
  readonly options: TuneOptions
  /** The options with their defaults. */
  readonly settings: TuneSettings
  readonly optimizer: Optimizer
  /** Cross-entropy without. */
  readonly objective: RunObjective | undefined
}

/** An adapter that is on, and its config as PEFT knows it. */
export interface AttachedAdapter {
  readonly adapter: Adapter
  readonly config: PeftConfig
}

/** All that a run will be made of. */
export interface RunPlan {
  readonly trainables: readonly Trainable[]
  readonly options: TrainerOptions & { readonly objective: ReturnType<RunObjective["create"]> | undefined }
  readonly preflight: Preflight
  /** What it goes on from. */
  readonly file: TrainingFile | undefined
  /** What is trained; all weights without. */
  readonly attached: AttachedAdapter | undefined
}

/**
 * Makes the adapter, if there is to be one, and weighs the run. The caller must have the model's turn.
 *
 * @param file what the run goes on from
 * @throws {RangeError} when it would take more memory than it may; the adapter is gone again then
 */
export async function planRun(
  lm: LanguageModel,
  request: RunRequest,
  file: TrainingFile | undefined,
): Promise<RunPlan> {
  const { model, adapters } = internals(lm)
  const { settings, optimizer } = request
  const { method, steps, rowsAtOnce, context, maxNorm, productDecay } = settings
  const attached = method === "full" ? undefined : await attach(lm, request, file)
  const trainables = attached
    ? adapterTrainables(attached.adapter, settings.adapter!, steps)
    : allWeights(model, productDecay)
  const tokens = rowsAtOnce * context
  const { recompute, memoryLimit } = request.options
  const common = { optimizer, tokens, maxNorm: maxNorm || undefined, productDecay, recompute }
  let objective: ReturnType<RunObjective["create"]> | undefined
  try {
    objective = request.objective?.create(model, tokens)
    const options = { ...common, objective }
    const bytes = preflight(model, trainables, options, { rowsAtOnce, context, memoryLimit })
    return { trainables, options, file, attached, preflight: bytes }
  } catch (error) {
    objective?.dispose()
    if (attached) adapters.remove(nameOf(request.options))
    throw error
  }
}

/** Makes the adapter, or takes it from the file, and turns it on alone. */
async function attach(
  lm: LanguageModel,
  { options, settings }: RunRequest,
  file: TrainingFile | undefined,
): Promise<AttachedAdapter> {
  const { model, adapters } = internals(lm)
  const { device } = model
  const { linears } = model.network
  const config = file && parsePeftConfig(file.state.adapter)
  const start = config
    ? { config, factors: await readFactors(linears, config, file.read) }
    : await initialFactors(device, linears, settings.adapter!, lm.name, options.onPrepare)
  adapters.set([])
  const adapter = adapters.add(nameOf(options), start.factors)
  releaseNorms(device, adapter)
  return { adapter, config: start.config }
}

function nameOf({ name = "tuned" }: TuneOptions): string {
  return name
}
