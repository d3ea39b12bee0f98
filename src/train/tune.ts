import { formatBytes } from "../kernels/device.ts"
import { GpuError } from "../kernels/errors.ts"
import { type Adapter, releaseNorms } from "../model/adapter.ts"
import type { Objective } from "../model/loss.ts"
import type { Model } from "../model/model.ts"
import { writeValues } from "../model/parameter.ts"
import { adapterFiles, type PeftAdapter, type PeftConfig, parsePeftConfig } from "../model/peft.ts"
import { formatPeftConfig } from "../model/peft_config.ts"
import { writeSafetensors } from "../model/safetensors.ts"
import { type Internals, internals, type LanguageModel } from "../session.ts"
import { adapterTrainables, factorEntries, initialFactors, readFactors, toPeft } from "./adapter_method.ts"
import { type Batch, createBatches } from "./batches.ts"
import { lossCurveSvg } from "./curve.ts"
import { copyFiles, modelEntries, weightEntries } from "./model_files.ts"
import type { Optimizer } from "./optimizer.ts"
import type { Row } from "./packing.ts"
import { type DataRecord, type Dataset, recordsOf } from "./records.ts"
import { schedule } from "./schedule.ts"
import {
  type MicroBatch,
  type StepResult,
  type Trainable,
  Trainer,
  type TrainerOptions,
  type TrainingBytes,
  trainingBytes,
} from "./trainer.ts"
import {
  type CurvePoint,
  expectSameSettings,
  readTrainingFile,
  type TrainingFile,
  writeTrainingFile,
} from "./training_file.ts"
import { resolveOptions, type TuneOptions, type TuneSettings } from "./tune_options.ts"

/** What a run will ask of the GPU, known before it is allocated. */
export interface Preflight extends TrainingBytes {
  /** What the device holds already: weights, adapters, caches. */
  readonly held: number
  /** All of it together: the most that will be held at once. */
  readonly peak: number
  /** Parameters that are trained at first. */
  readonly trained: number
}

/** One update, or a measurement before the first. */
export interface TuneStep {
  /** From 1 on; 0 is the measurement before the first. */
  readonly step: number
  readonly steps: number
  /** Mean over the step's targets before its update; absent at step 0. */
  readonly loss?: number
  /** Mean over the held-out rows after the update, where they were measured. */
  readonly heldOut?: number
  /** The learning rate. */
  readonly rate: number
  /** Of all gradients, before clipping; absent at step 0. */
  readonly gradientNorm?: number
  /** Tokens of the step's rows. */
  readonly tokens: number
  readonly tokensPerSecond: number
  /** What is left of the run, measurements included. */
  readonly secondsLeft: number
  /** GPU bytes held. */
  readonly memory: number
  /** Elements that an update changes now. */
  readonly trained: number
}

/** Where rows come from. */
export interface BatchSource {
  next(): Promise<Batch>
  /** Where the next batch begins: JSON. */
  state(): unknown
  restore(state: unknown): void
  /** The rows to measure by, always the same. */
  heldOutRows(): AsyncIterable<Row>
}

/** What makes the loss of a run, and what the run is called by it. */
export interface RunObjective {
  readonly settings: unknown
  create(model: Model, tokens: number): Objective & { dispose(): void }
}

/** All that a run will be made of. */
interface RunPlan {
  readonly trainables: readonly Trainable[]
  readonly options: TrainerOptions & { readonly objective: ReturnType<RunObjective["create"]> | undefined }
  readonly preflight: Preflight
  /** What it goes on from. */
  readonly file: TrainingFile | undefined
  readonly adapter?: Adapter
  readonly config?: PeftConfig
}

/** A run of training. Iterate it for its steps; between them the model answers as it is then. */
export class Tuning implements AsyncIterable<TuneStep> {
  readonly settings: TuneSettings
  /** Every step's loss and every measurement so far. */
  readonly curve: CurvePoint[] = []
  #lm: LanguageModel
  #inside: Internals
  readonly #options: TuneOptions
  readonly #optimizer: Optimizer
  readonly #batches: BatchSource
  readonly #objective: RunObjective | undefined
  #plan: RunPlan | undefined
  #trainer: Trainer | undefined
  #saved: number | undefined
  #heldOut: MicroBatch[] | undefined

  constructor(lm: LanguageModel, batches: BatchSource, options: TuneOptions, objective?: RunObjective) {
    this.#lm = lm
    this.#inside = internals(lm)
    this.#options = options
    this.#batches = batches
    this.#objective = objective
    const { settings, optimizer } = resolveOptions(options, lm.config.maxPositions)
    this.settings = settings
    this.#optimizer = optimizer
  }

  /** The model that is trained: another object than at first, if its device was lost on the way. */
  get lm(): LanguageModel {
    return this.#lm
  }

  /** Updates done. */
  get step(): number {
    return this.#trainer?.steps ?? this.#plan?.file?.state.step ?? 0
  }

  /** The last step that is in the store. */
  get saved(): number | undefined {
    return this.#saved
  }

  /**
   * Makes the adapter and tells what the run will take, before it is allocated. Iterating does it by itself.
   *
   * @throws {RangeError} when it would take more than `memoryLimit`, saying what would fit
   */
  async prepare(): Promise<Preflight> {
    if (!this.#plan) {
      const { store, resume } = this.#options
      if (resume && !store) throw new TypeError("resume: store is missing, expected where the run keeps its files")
      const file = resume ? await readTrainingFile(store!) : undefined
      if (file) expectSameSettings(this.#identity, file.state.settings)
      this.#plan = await this.#exclusive(() => this.#makePlan(file))
    }
    return this.#plan.preflight
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TuneStep, void, undefined> {
    await this.prepare()
    await this.#exclusive(() => this.#begin())
    const { steps } = this.settings
    const clock = new Clock()
    if (this.step === 0) {
      const heldOut = await this.#attempt(() => this.#measure())
      if (heldOut !== undefined) {
        this.curve.push({ step: 0, heldOut })
        yield { ...this.#status(clock, 0), heldOut }
      }
    }
    while (this.step < steps) {
      const began = performance.now()
      const done = await this.#attempt(() => this.#update())
      if (!done) continue // the device was lost, and the run is back at its last checkpoint
      const { result, rate, tokens } = done
      const heldOut = this.#isDue(this.#options.evaluateEvery) ? await this.#attempt(() => this.#measure()) : undefined
      const measured = heldOut === undefined ? {} : { heldOut }
      this.curve.push({ step: this.step, loss: result.loss, ...measured })
      clock.add(tokens, performance.now() - began)
      if (this.#options.store && this.#isDue(this.#options.saveEvery)) await this.#attempt(() => this.save())
      const { loss, gradientNorm } = result
      yield { ...this.#status(clock, rate), loss, ...measured, gradientNorm, tokens }
      if (this.#options.signal?.aborted && this.step < steps) {
        if (this.#options.store && this.#saved !== this.step) await this.save()
        this.#options.signal.throwIfAborted()
      }
    }
  }

  /** Writes the adapter or model as it is now, and what the run goes on from, into the store. */
  async save(): Promise<void> {
    const { store, note } = this.#options
    if (!store) throw new TypeError("save: store is missing, expected where the run keeps its files")
    await this.#exclusive(async () => {
      const { trainer, adapter, config } = this.#ready
      const { model, folder } = this.#inside
      if (adapter) {
        const files = await adapterFiles(await toPeft(model.device, adapter, config!))
        for (const [name, bytes] of files) await store.write(name, [bytes])
      } else {
        if (this.#saved === undefined) await copyFiles(folder, store)
        await store.write("model.safetensors", writeSafetensors(modelEntries(model), { format: "pt" }))
      }
      const weights = adapter ? await factorEntries(model.device, adapter) : weightEntries(model)
      const state = {
        settings: this.#identity,
        adapter: config ? JSON.parse(formatPeftConfig(config)) : null,
        step: trainer.steps,
        batches: this.#batches.state(),
        curve: this.curve,
        note,
      }
      await writeTrainingFile(store, state, [...weights, ...trainer.stateEntries()])
      if (this.curve.length > 0) await store.write("loss.svg", [new TextEncoder().encode(this.#svg())])
      this.#saved = trainer.steps
    })
  }

  /** The adapter as it is now, as plain LoRA on the untouched base. */
  async adapter(): Promise<PeftAdapter> {
    const { adapter, config } = this.#ready
    if (!adapter) throw new TypeError("adapter: method is full, expected one that trains an adapter")
    return this.#exclusive(() => toPeft(this.#inside.model.device, adapter, config!))
  }

  /** Gives back what only training needs. The adapter stays on; `lm.removeAdapter` takes it off. */
  dispose(): void {
    this.#trainer?.dispose()
    this.#plan?.options.objective?.dispose()
    this.#trainer = this.#plan = undefined
  }

  /** What must be the same for a run to go on. */
  get #identity(): Record<string, unknown> {
    return { ...this.settings, objective: this.#objective?.settings ?? null, model: this.#lm.config }
  }

  get #ready() {
    if (!this.#trainer) throw new TypeError("tune: run has not begun, expected an iteration before")
    return { ...this.#plan!, trainer: this.#trainer }
  }

  async #makePlan(file: TrainingFile | undefined): Promise<RunPlan> {
    const { model } = this.#inside
    const { method, steps, rowsAtOnce, context, maxNorm, productDecay } = this.settings
    const attached: Pick<RunPlan, "adapter" | "config"> = method === "full" ? {} : await this.#attach(file)
    const { adapter } = attached
    const trainables = adapter
      ? adapterTrainables(adapter, this.settings.adapter!, steps)
      : allWeights(model, productDecay)
    const tokens = rowsAtOnce * context
    const { recompute } = this.#options
    const common = { optimizer: this.#optimizer, tokens, maxNorm: maxNorm || undefined, productDecay, recompute }
    let objective: ReturnType<RunObjective["create"]> | undefined
    try {
      objective = this.#objective?.create(model, tokens)
      const options = { ...common, objective }
      return { trainables, options, file, ...attached, preflight: this.#weigh(trainables, options) }
    } catch (error) {
      objective?.dispose()
      if (adapter) this.#inside.adapters.remove(this.#name)
      throw error
    }
  }

  /** Allocates what the plan asks for, and goes to where the run was left. */
  async #begin(): Promise<void> {
    if (this.#trainer) return
    const { trainables, options, adapter, file } = this.#plan!
    const { model } = this.#inside
    const trainer = new Trainer(model, trainables, options)
    this.#trainer = trainer
    if (!file) return
    if (!adapter) {
      for (const { name, parameter } of trainables) {
        writeValues(model.device, parameter, await expectEntry(file, name))
      }
      model.derive()
    }
    await trainer.restore(file.state.step, (name) => expectEntry(file, name))
    this.#batches.restore(file.state.batches)
    this.curve.splice(0, this.curve.length, ...file.state.curve)
    this.#saved = file.state.step
  }

  get #name(): string {
    return this.#options.name ?? "tuned"
  }

  /** Makes the adapter, or takes it from the file, and turns it on alone. */
  async #attach(file: TrainingFile | undefined): Promise<{ adapter: Adapter; config: PeftConfig }> {
    const { model, adapters } = this.#inside
    const { device } = model
    const { linears } = model.network
    const settings = this.settings.adapter!
    const config = file && parsePeftConfig(file.state.adapter)
    const start = config
      ? { config, factors: await readFactors(linears, config, file.read) }
      : await initialFactors(device, linears, settings, this.#lm.name, this.#options.onPrepare)
    adapters.set([])
    const adapter = adapters.add(this.#name, start.factors)
    releaseNorms(device, adapter)
    return { adapter, config: start.config }
  }

  #weigh(trainables: readonly Trainable[], options: TrainerOptions): Preflight {
    const { model } = this.#inside
    const { memoryLimit } = this.#options
    const held = model.device.memory.total
    const bytes = trainingBytes(model, trainables, options)
    const peak = held + bytes.total
    if (memoryLimit !== undefined && peak > memoryLimit) throw this.#tooMuch(held, peak, trainables, options)
    const trained = trainables.reduce((sum, { parameter }) => sum + parameter.shape.reduce((a, b) => a * b, 1), 0)
    return { ...bytes, held, peak, trained }
  }

  /** What would fit instead: recomputation, then fewer rows at once, then both with a shorter context. */
  #tooMuch(held: number, peak: number, trainables: readonly Trainable[], options: TrainerOptions): RangeError {
    const limit = this.#options.memoryLimit!
    const { rowsAtOnce, context } = this.settings
    const others = [{ recompute: true, rows: rowsAtOnce, context }]
    for (let rows = rowsAtOnce >> 1; rows >= 1; rows >>= 1) others.push({ recompute: true, rows, context })
    for (let short = context >> 1; short >= 16; short >>= 1) others.push({ recompute: true, rows: 1, context: short })
    const fits = others.find(({ recompute, rows, context }) => {
      const { total } = trainingBytes(this.#inside.model, trainables, { ...options, recompute, tokens: rows * context })
      return held + total <= limit
    })
    const advice = fits
      ? `what would fit: recompute with ${fits.rows} row${fits.rows === 1 ? "" : "s"} at once of ${fits.context} tokens`
      : `${formatBytes(held)} are held already, and no shorter row fits`
    return new RangeError(
      `tune: needs ${formatBytes(peak)} on the GPU, expected at most ${formatBytes(limit)} (${advice})`,
    )
  }

  async #update(): Promise<{ result: StepResult; rate: number; tokens: number }> {
    const { trainer } = this.#ready
    const { steps, warmup, rate, schedule: name } = this.settings
    const before = this.#batches.state()
    const { rows } = await this.#batches.next()
    const now = rate * schedule(name, { steps, warmup })(trainer.steps)
    try {
      const result = await this.#exclusive(() => trainer.step(this.#cut(rows), now))
      return { result, rate: now, tokens: rows.flat().reduce((sum, { ids }) => sum + ids.length, 0) }
    } catch (error) {
      this.#batches.restore(before)
      throw error
    }
  }

  /** Rows as they go through the model: so many at once, their sequences behind one another. */
  #cut(rows: readonly MicroBatch[]): MicroBatch[] {
    const { rowsAtOnce } = this.settings
    const count = Math.ceil(rows.length / rowsAtOnce)
    return Array.from({ length: count }, (_, i) => rows.slice(i * rowsAtOnce, (i + 1) * rowsAtOnce).flat())
  }

  async #measure(): Promise<number | undefined> {
    if (this.#options.evaluateEvery === 0) return undefined
    this.#heldOut ??= this.#cut(await all(this.#batches.heldOutRows()))
    if (this.#heldOut.length === 0) return undefined
    const { loss } = await this.#exclusive(() => this.#ready.trainer.evaluate(this.#heldOut!))
    if (Number.isFinite(loss)) return loss
    throw new RangeError(
      `step ${this.step}: held-out loss is ${loss}, expected a finite number (try a lower learning rate)`,
    )
  }

  /** Whether something is to be done after this step: every so many, and after the last. */
  #isDue(every = Math.ceil(this.settings.steps / 10)): boolean {
    return this.step === this.settings.steps || (every > 0 && this.step % every === 0)
  }

  #status(clock: Clock, rate: number) {
    const { step } = this
    const { steps } = this.settings
    return {
      step,
      steps,
      rate,
      tokens: 0,
      tokensPerSecond: clock.tokensPerSecond,
      secondsLeft: clock.secondsPerStep * (steps - step),
      memory: this.#lm.memory.total,
      trained: this.#ready.trainer.trainedElements,
    }
  }

  #svg(): string {
    const training = this.curve.flatMap(({ step, loss }) => (loss === undefined ? [] : [{ step, loss }]))
    const heldOut = this.curve.flatMap(({ step, heldOut }) => (heldOut === undefined ? [] : [{ step, loss: heldOut }]))
    return lossCurveSvg({ title: `${this.#lm.name}, ${this.settings.method}`, training, heldOut })
  }

  /**
   * Does something that may fail. When the device is lost and the model can be opened again, the run goes back to its
   * last checkpoint, and the result is undefined; any other failure says what the store holds.
   */
  async #attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work()
    } catch (error) {
      const { reopen, store } = this.#options
      const lost = error instanceof GpuError && error.kind === "lost"
      if (lost && reopen && this.#saved !== undefined) {
        await this.#recover(reopen)
        return undefined
      }
      if (error instanceof Error && store && this.#saved !== undefined) {
        error.message += ` (${store.name} holds the run as it was after step ${this.#saved})`
      }
      throw error
    }
  }

  async #recover(reopen: () => Promise<LanguageModel>): Promise<void> {
    this.#trainer = this.#plan = undefined // their buffers went with the device
    await this.#lm.dispose()
    this.#lm = await reopen()
    this.#inside = internals(this.#lm)
    const file = await readTrainingFile(this.#options.store!)
    await this.#exclusive(async () => {
      this.#plan = await this.#makePlan(file)
      await this.#begin()
    })
  }

  async #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const release = await this.#inside.acquire()
    try {
      return await work()
    } finally {
      release()
    }
  }
}

/**
 * Trains a model, or an adapter on it, in place. Iterate the result for its steps; in between and afterwards the model
 * answers as it is then.
 *
 * @param data a dataset, or records: `{ text }`, `{ prompt, completion }` or `{ messages }`
 * @throws {RangeError} for options that cannot be, TypeError without a tokenizer
 */
export function tune(lm: LanguageModel, data: Dataset | readonly DataRecord[], options: TuneOptions = {}): Tuning {
  return new Tuning(lm, batchesOf(lm, data, options), options)
}

/** Batches of some data as a run's options ask for them. */
export function batchesOf(lm: LanguageModel, data: Dataset | readonly DataRecord[], options: TuneOptions): BatchSource {
  const { tokenizer, config } = lm
  if (!tokenizer) throw new TypeError(`${lm.name}: tokenizer.json is missing, expected it for text`)
  const { batch, context, packing, shuffle, seed, heldOutFrom } = resolveOptions(options, config.maxPositions).settings
  const dataset = "read" in data ? data : recordsOf(data)
  const { skipBad = false, heldOut = defaultHeldOut(dataset.count) } = options
  const [eos] = config.eos
  if (eos === undefined) throw new RangeError(`${lm.name}: eos_token_id is missing, expected the id that ends a text`)
  const common = { packing, shuffle, seed, heldOut, heldOutFrom, skipBad }
  return createBatches(dataset, tokenizer, { rows: batch, context, eos, ...common })
}

function defaultHeldOut(count: number): number {
  return count < 20 ? 0 : Math.min(64, Math.round(count / 20))
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const value of values) list.push(value)
  return list
}

/** Every weight; decay leaves norms out, and with a decay of products their factors too. */
function allWeights(model: Model, productDecay: number): Trainable[] {
  const fail = (name: string, dtype: string) =>
    new TypeError(`tune: ${name} is ${dtype}, expected f32 to train all weights (load with dtype f32)`)
  for (const [name, { dtype }] of model.packed) throw fail(name, dtype)
  const lowRank = new Set(
    [...model.network.linears].flatMap(([path, { weight }]) => (weight.kind === "low-rank" ? [path] : [])),
  )
  return [...model.parameters].map(([name, parameter]) => {
    const { dtype, shape } = parameter.variable
    if (dtype !== "f32") throw fail(name, dtype)
    const [, of = "", side] = /^(.*)\.([uv])\.weight$/.exec(name) ?? []
    const factor = lowRank.has(of) ? { of, side: side as "u" | "v" } : undefined
    return { name, parameter, factor, decay: shape.length > 1 && !(factor && productDecay > 0) }
  })
}

async function expectEntry(file: TrainingFile, name: string): Promise<Float32Array> {
  const values = await file.read(name)
  if (values) return values
  throw new RangeError(`resume: ${name} is not in the checkpoint, expected it (is it of another model?)`)
}

/** How fast a run is: a mean that forgets, as the first steps compile shaders. */
class Clock {
  tokensPerSecond = 0
  secondsPerStep = 0

  add(tokens: number, milliseconds: number): void {
    const seconds = milliseconds / 1000
    const forget = this.secondsPerStep === 0 ? 1 : 0.1
    this.secondsPerStep += forget * (seconds - this.secondsPerStep)
    this.tokensPerSecond += forget * (tokens / seconds - this.tokensPerSecond)
  }
}
