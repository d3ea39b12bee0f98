import { GpuError } from "../kernels/errors.ts"
import type { PeftAdapter } from "../model/peft.ts"
import { internals, type LanguageModel } from "../session.ts"
import { toPeft } from "./adapter_method.ts"
import { type BatchSource, batchesOf } from "./batch_source.ts"
import { copyFiles } from "./model_files.ts"
import type { Preflight } from "./preflight.ts"
import { Pace, type TuneStep } from "./progress.ts"
import type { DataRecord, Dataset } from "./records.ts"
import { restoreCheckpoint, writeCheckpoint } from "./run_checkpoint.ts"
import { planRun, type RunObjective, type RunPlan, type RunRequest } from "./run_plan.ts"
import { schedule } from "./schedule.ts"
import { type MicroBatch, type StepResult, Trainer } from "./trainer.ts"
import { type CurvePoint, expectSameSettings, readTrainingFile } from "./training_file.ts"
import { resolveOptions, type TuneOptions, type TuneSettings } from "./tune_options.ts"

/** A run of training. Iterate it for its steps; between them the model answers as it is then. */
export class Tuning implements AsyncIterable<TuneStep> {
  readonly settings: TuneSettings
  /** Every step's loss and every measurement so far. */
  readonly curve: CurvePoint[] = []
  #lm: LanguageModel
  readonly #request: RunRequest
  readonly #options: TuneOptions
  readonly #batches: BatchSource
  #plan: RunPlan | undefined
  #trainer: Trainer | undefined
  #saved: number | undefined
  #heldOut: MicroBatch[] | undefined

  constructor(lm: LanguageModel, batches: BatchSource, options: TuneOptions, objective?: RunObjective) {
    this.#lm = lm
    this.#options = options
    this.#batches = batches
    const { settings, optimizer } = resolveOptions(options, lm.config.maxPositions)
    this.settings = settings
    this.#request = { options, settings, optimizer, objective }
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
      this.#plan = await this.#exclusive(() => planRun(this.#lm, this.#request, file))
    }
    return this.#plan.preflight
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TuneStep, void, undefined> {
    await this.prepare()
    await this.#exclusive(() => this.#begin())
    const { steps } = this.settings
    const pace = new Pace(steps)
    if (this.step === 0) {
      const heldOut = await this.#attempt(() => this.#measure())
      if (heldOut !== undefined) {
        this.curve.push({ step: 0, heldOut })
        yield { ...this.#status(pace, 0), heldOut }
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
      pace.add(tokens, performance.now() - began)
      if (this.#options.store && this.#isDue(this.#options.saveEvery)) await this.#attempt(() => this.save())
      const { loss, gradientNorm } = result
      yield { ...this.#status(pace, rate), loss, ...measured, gradientNorm, tokens }
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
      const { trainer, attached } = this.#ready
      const { model, folder } = internals(this.#lm)
      if (!attached && this.#saved === undefined) await copyFiles(folder, store)
      const title = `${this.#lm.name}, ${this.settings.method}`
      const [settings, batches, curve] = [this.#identity, this.#batches.state(), this.curve]
      await writeCheckpoint(store, { model, trainer, attached, title, settings, batches, curve, note })
      this.#saved = trainer.steps
    })
  }

  /** The adapter as it is now, as plain LoRA on the untouched base. */
  async adapter(): Promise<PeftAdapter> {
    const { attached } = this.#ready
    if (!attached) throw new TypeError("adapter: method is full, expected one that trains an adapter")
    const { device } = internals(this.#lm).model
    return this.#exclusive(() => toPeft(device, attached.adapter, attached.config))
  }

  /** Gives back what only training needs. The adapter stays on; `lm.removeAdapter` takes it off. */
  dispose(): void {
    this.#trainer?.dispose()
    this.#plan?.options.objective?.dispose()
    this.#trainer = this.#plan = undefined
  }

  /** What must be the same for a run to go on. */
  get #identity(): Record<string, unknown> {
    return { ...this.settings, objective: this.#request.objective?.settings ?? null, model: this.#lm.config }
  }

  get #ready() {
    if (!this.#trainer) throw new TypeError("tune: run has not begun, expected an iteration before")
    return { attached: this.#plan!.attached, trainer: this.#trainer }
  }

  /** Allocates what the plan asks for, and goes to where the run was left. */
  async #begin(): Promise<void> {
    if (this.#trainer) return
    const plan = this.#plan!
    const { model } = internals(this.#lm)
    this.#trainer = new Trainer(model, plan.trainables, plan.options)
    if (!plan.file) return
    const { step, batches, curve } = plan.file.state
    await restoreCheckpoint(plan.file, model, plan, this.#trainer)
    this.#batches.restore(batches)
    this.curve.splice(0, this.curve.length, ...curve)
    this.#saved = step
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

  #status(pace: Pace, rate: number) {
    const [{ trainedElements }, { memory }] = [this.#ready.trainer, this.#lm]
    return { ...pace.at(this.step), rate, tokens: 0, memory: memory.total, trained: trainedElements }
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
      const canSay = error instanceof Error && !(error instanceof DOMException) // whose message cannot be changed
      if (canSay && store && this.#saved !== undefined) {
        error.message += ` (${store.name} holds the run as it was after step ${this.#saved})`
      }
      throw error
    }
  }

  async #recover(reopen: () => Promise<LanguageModel>): Promise<void> {
    this.#trainer = this.#plan = undefined // their buffers went with the device
    await this.#lm.dispose()
    this.#lm = await reopen()
    const file = await readTrainingFile(this.#options.store!)
    await this.#exclusive(async () => {
      this.#plan = await planRun(this.#lm, this.#request, file)
      await this.#begin()
    })
  }

  async #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const release = await internals(this.#lm).acquire()
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

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const value of values) list.push(value)
  return list
}
