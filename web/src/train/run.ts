import { signal } from "@preact/signals"
import { adaptersSettled } from "../adapters/switch.ts"
import { type Preflight, tune, type WorkerLanguageModel, type WorkerTuning } from "../engine.ts"
import { type ActiveRun, activeRun } from "../state/store.ts"
import { adapterFolder, type RunOptions, type TrainingRun } from "../storage/adapter.ts"

/** Milliseconds between what is shown of a run: small models make many steps in that time. */
const SHOW_EVERY = 200
/** Saves in a run, and the fewest steps between them: a tab that is closed loses no more, and a save takes as long as some steps. */
const SAVES = 10
const FEWEST_STEPS = 5

export interface RunRequest {
  readonly id: string
  readonly name: string
  readonly options: RunOptions
  /** JSON lines. */
  readonly lines: string
  /** Updates that are saved, to go on from; 0 begins. */
  readonly from: number
}

/** What the run's folder holds. */
export type Saved = Pick<TrainingRun, "step" | "curve" | "settings">

/** A run of this page, weighed, then trained, then ended. It has the model for itself from its making on. */
export class Run implements ActiveRun {
  readonly id: string
  readonly name: string
  readonly phase: ActiveRun["phase"] = signal("weighing")
  readonly prepared: ActiveRun["prepared"] = signal(undefined)
  readonly last: ActiveRun["last"] = signal(undefined)
  readonly curve: ActiveRun["curve"] = signal([])
  readonly #lm: WorkerLanguageModel
  readonly #tuning: WorkerTuning
  readonly #from: number
  readonly #controller = new AbortController()
  readonly #release: () => void
  /** What has to settle before the run can be ended. */
  #work: Promise<unknown> = Promise.resolve()
  #ended: Promise<void> | undefined

  /** @param release lets the run's lock go */
  constructor(lm: WorkerLanguageModel, { id, name, options, lines, from }: RunRequest, release: () => void) {
    this.id = id
    this.name = name
    this.#lm = lm
    this.#from = from
    this.#release = release
    this.#tuning = tune(lm, [new File([lines], "examples.jsonl")], {
      ...options,
      name: id,
      store: adapterFolder(id),
      saveEvery: Math.max(FEWEST_STEPS, Math.floor(options.steps / SAVES)),
      resume: from > 0,
      signal: this.#controller.signal,
      onPrepare: (done, of) => {
        this.prepared.value = { done, of }
      },
    })
    activeRun.value = this
  }

  /** What it will take of the GPU, before any of that is allocated. */
  async weigh(): Promise<Preflight> {
    const weighing = adaptersSettled().then(() => this.#tuning.prepare())
    this.#work = weighing
    const preflight = await weighing
    this.#controller.signal.throwIfAborted()
    this.phase.value = "weighed"
    return preflight
  }

  /**
   * Trains to the end, or until it is stopped, which is a pause.
   *
   * @param onSave hears of each save; the run rests until it is done
   */
  train(onSave: (saved: Saved) => Promise<void>): Promise<"done" | "paused"> {
    const training = this.#train(onSave)
    this.#work = training
    return training
  }

  /** What its folder holds; undefined where nothing of it is known. */
  get saved(): Saved | undefined {
    const { saved, curve, settings } = this.#tuning
    return saved === undefined ? undefined : { step: saved, curve: curve.filter(({ step }) => step <= saved), settings }
  }

  readonly stop = async (): Promise<void> => {
    this.phase.value = "stopping"
    this.#controller.abort()
    await this.#work.catch(() => {}) // whoever began it hears of that
    await this.end()
  }

  /** Gives back what it took, the model included. */
  end(): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #end(): Promise<void> {
    // Those of a model or an engine that is gone are gone with it.
    await this.#tuning.dispose().catch(() => {})
    await this.#lm.removeAdapter(this.id).catch(() => {})
    this.#release()
    if (activeRun.value === this) activeRun.value = undefined
  }

  async #train(onSave: (saved: Saved) => Promise<void>): Promise<"done" | "paused"> {
    const { signal } = this.#controller
    let noted = this.#from
    let shown = Number.NEGATIVE_INFINITY
    addEventListener("beforeunload", warn)
    try {
      signal.throwIfAborted()
      this.phase.value = "training"
      for await (const step of this.#tuning) {
        const now = performance.now()
        if (now - shown >= SHOW_EVERY || step.step === step.steps) {
          shown = now
          this.last.value = step
          this.curve.value = this.#tuning.curve.slice()
        }
        const { saved } = this
        if (!saved || saved.step === noted) continue
        noted = saved.step
        await onSave(saved)
      }
      return "done"
    } catch (error) {
      if (signal.aborted && error === signal.reason) return "paused"
      throw error
    } finally {
      removeEventListener("beforeunload", warn)
    }
  }
}

/** A tab that is closed loses what came after the last save; the browser asks first. */
function warn(event: BeforeUnloadEvent): void {
  event.preventDefault()
}
