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

/** How fast a run is: means that forget, as the first steps compile shaders. */
export class Pace {
  readonly #steps: number
  #tokensPerSecond = 0
  #secondsPerStep = 0

  /** @param steps of the whole run */
  constructor(steps: number) {
    this.#steps = steps
  }

  /** Counts a step. */
  add(tokens: number, milliseconds: number): void {
    const seconds = milliseconds / 1000
    const forget = this.#secondsPerStep === 0 ? 1 : 0.1
    this.#secondsPerStep += forget * (seconds - this.#secondsPerStep)
    this.#tokensPerSecond += forget * (tokens / seconds - this.#tokensPerSecond)
  }

  /** After so many steps. */
  at(step: number): Pick<TuneStep, "step" | "steps" | "tokensPerSecond" | "secondsLeft"> {
    const secondsLeft = this.#secondsPerStep * (this.#steps - step)
    return { step, steps: this.#steps, tokensPerSecond: this.#tokensPerSecond, secondsLeft }
  }
}
