import { NO_POSITION } from "../kernels/cursors.ts"
import type { Device } from "../kernels/device.ts"
import { LIKELIEST_ROWS } from "../kernels/likeliest.ts"
import type { Plan } from "../kernels/run.ts"
import { resetSampleState } from "../kernels/sample.ts"
import { byteSize, type Tensor } from "../kernels/tensor.ts"
import { Answer, type Beginning, type Drawn, type DrawOptions, type DrawStats } from "./answer.ts"
import { DecodeSteps, type StepKind, type StepParts } from "./decode_steps.ts"
import type { Sequence } from "./sequence.ts"

/** Steps in one submit: enough that the read-back's delay does not show, few enough that text streams. */
const MIN_BATCH = 2
const MAX_BATCH = LIKELIEST_ROWS
const BATCH_MS = 40
/** One batch runs while the one before is read. */
const IN_FLIGHT = 2
/** Steps that were submitted together. */
interface Flight {
  readonly answers: readonly Answer[]
  /** Resolves when each answer has its tokens. */
  readonly arrived: Promise<void>
}

/**
 * Draws tokens into sequences of a model. Sequences whose next tokens are wanted at the same time go through the model together,
 * so that each weight is read once for all of them. Each token is sampled on the GPU and fed back there; the host only reads.
 */
export class Decoder {
  readonly #device: Device
  readonly steps: DecodeSteps
  /** B, how many sequences there are. */
  readonly #count: number
  /** By sequence. */
  readonly #answers = new Map<number, Answer>()
  /** The sequences that have a position on the GPU, and the mask that each has there. */
  readonly #placed = new Set<number>()
  readonly #masks = new Map<number, Uint32Array<ArrayBuffer>>()
  /** Allows everything. */
  readonly #all: Uint32Array<ArrayBuffer>
  #flights: readonly Flight[] = []
  #staging: GPUBuffer[] = []
  #batch = 1
  #lastArrival = 0

  constructor(parts: StepParts) {
    this.#device = parts.device
    this.steps = new DecodeSteps(parts)
    this.#count = parts.sequences.each.length
    this.#all = new Uint32Array(Math.ceil(parts.V / 32)).fill(0xffffffff)
  }

  /**
   * Draws `count` tokens into a sequence, which must have room for them. Stopping early leaves at most two batches drawn for
   * nothing; the sequence is free when the generator has returned.
   */
  async *draw(
    sequence: Sequence,
    from: Beginning,
    count: number,
    options: DrawOptions & { readonly signal?: AbortSignal | undefined },
    stats: DrawStats,
  ): AsyncGenerator<Drawn, void, void> {
    const answer = new Answer(sequence, from, count, stats, options)
    this.#begin(answer, from)
    try {
      while (answer.pieces.length > 0 || answer.read < count) {
        if (answer.pieces.length === 0) {
          const began = performance.now()
          await this.#advance(answer)
          stats.decodeMs += performance.now() - began
          options.signal?.throwIfAborted()
        } else yield answer.pieces.shift()!
      }
    } finally {
      await this.#end(answer)
    }
  }

  /** Must be called when other adapters are on. */
  dispose(): void {
    this.steps.dispose()
  }

  #begin(answer: Answer, { tokens, history, drawn }: Beginning): void {
    const { index, options } = answer
    const { state, likeliest } = this.steps
    resetSampleState(this.#device, state, index, tokens, options.sampling, { history, drawn })
    this.#device.write(likeliest.count, Uint32Array.of(options.logprobs ?? 0), index * 4)
    this.#placed.add(index)
    this.#answers.set(index, answer)
    if (this.#staging.length + this.#flights.length === 0) this.#staging = this.#newStaging()
  }

  /** What was drawn past its end has its place before the sequence is anyone else's. */
  async #end(answer: Answer): Promise<void> {
    this.#answers.delete(answer.index)
    const last = this.#flights.filter(({ answers }) => answers.includes(answer))
    await Promise.allSettled(last.map(({ arrived }) => arrived))
    if (this.#answers.size > 0 || this.#flights.length > 0) return
    for (const buffer of this.#staging) this.#device.free(buffer)
    this.#staging = []
  }

  /** Has steps underway, and waits for those that an answer is in, or for room for it. */
  async #advance(answer: Answer): Promise<void> {
    while (this.#flights.length < IN_FLIGHT) {
      const ready = [...this.#answers.values()].filter((each) => each.ready)
      if (ready.length === 0) break
      this.#submit(ready)
    }
    const own = this.#flights.find(({ answers }) => answers.includes(answer))
    await (own ?? this.#flights[0]!).arrived
  }

  #submit(answers: readonly Answer[]): void {
    const began = performance.now()
    const kind = {
      n: Math.max(...answers.map(({ index }) => index)) + 1,
      masked: answers.some(({ options }) => options.mask),
      logprobs: answers.some(({ options }) => options.logprobs !== undefined),
    }
    const plan = this.steps.plan(kind)
    const most = kind.masked ? 1 : Math.min(this.#batch, MAX_BATCH)
    const steps = Math.min(most, ...answers.map(({ count, submitted }) => count - submitted))
    this.#place(answers, kind)
    for (const { trail } of answers) trail.steps(steps)
    const buffer = this.#encode(plan, answers, steps, kind.logprobs)
    const hostMs = (performance.now() - began) / answers.length
    for (const answer of answers) {
      answer.submitted += steps
      answer.stats.drawn += steps
      answer.stats.readbacks++
      answer.stats.hostMs += hostMs
    }
    this.#fly(answers, steps, buffer, kind.logprobs)
  }

  /** Writes who takes part, and with which masks. */
  #place(answers: readonly Answer[], { n, masked }: StepKind): void {
    const taking = new Map(answers.map((answer) => [answer.index, answer]))
    for (let i = 0; i < n; i++) {
      const answer = taking.get(i)
      if (answer && !this.#placed.has(i)) this.#write(i, answer.start + answer.submitted, answer.submitted)
      else if (!answer && this.#placed.has(i)) this.#write(i, NO_POSITION, 0)
      if (!masked || !answer) continue
      const bits = answer.options.mask?.bits() ?? this.#all
      if (this.#masks.get(i) !== bits) this.#device.write(this.steps.mask, bits, i * bits.byteLength)
      this.#masks.set(i, bits)
    }
  }

  #write(sequence: number, position: number, drawn: number): void {
    this.#device.write(this.steps.state.cursor, Uint32Array.of(position, drawn), sequence * 8)
    if (position === NO_POSITION) this.#placed.delete(sequence)
    else this.#placed.add(sequence)
  }

  /** Submits steps and the copies of what they draw. */
  #encode(plan: Plan, answers: readonly Answer[], steps: number, logprobs: boolean): GPUBuffer {
    const { state, likeliest } = this.steps
    const encoder = this.#device.gpu.createCommandEncoder()
    const pass = encoder.beginComputePass()
    for (let i = 0; i < steps; i++) plan.encode(pass)
    pass.end()
    const buffer = this.#staging.pop()!
    const output = state.output.storage.buffer!
    for (const { index, submitted } of answers) {
      const from = (index * state.output.shape[1]! + submitted) * 4
      encoder.copyBufferToBuffer(output, from, buffer, index * MAX_BATCH * 4, steps * 4)
    }
    if (logprobs) {
      const known = likeliest.output
      encoder.copyBufferToBuffer(known.storage.buffer!, 0, buffer, this.#tokenBytes, bytesOf(known))
    }
    this.#device.gpu.queue.submit([encoder.finish()])
    return buffer
  }

  /** Tokens come first in what is read, what is known of their probabilities behind them. */
  get #tokenBytes(): number {
    return this.#count * MAX_BATCH * 4
  }

  #newStaging(): GPUBuffer[] {
    const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ
    const size = this.#tokenBytes + bytesOf(this.steps.likeliest.output)
    return Array.from({ length: IN_FLIGHT }, () => this.#device.buffer("scratch", size, usage))
  }

  /** Reads what was drawn, behind what was submitted before. */
  #fly(answers: readonly Answer[], steps: number, buffer: GPUBuffer, logprobs: boolean): void {
    const began = performance.now()
    const before = this.#flights.at(-1)?.arrived.catch(() => {})
    const read = this.#device.mapped(buffer, logprobs ? buffer.size : this.#tokenBytes)
    read.catch(() => {}) // it is awaited behind the one before
    const arrive = async () => {
      try {
        await before
        const bytes = await read
        this.#pace(steps, began)
        for (const answer of answers) answer.take(...this.#drawn(bytes, answer.index, steps, logprobs))
      } finally {
        this.#flights = this.#flights.filter((each) => each !== flight)
        this.#staging.push(buffer)
      }
    }
    const flight: Flight = { answers, arrived: arrive() }
    flight.arrived.catch(() => {}) // reported where it is awaited
    this.#flights = [...this.#flights, flight]
  }

  /** What a sequence has drawn, of what was read. */
  #drawn(bytes: ArrayBuffer, sequence: number, steps: number, logprobs: boolean): [number[], DataView | undefined] {
    const tokens = [...new Uint32Array(bytes, sequence * MAX_BATCH * 4, steps)]
    const size = bytesOf(this.steps.likeliest.output) / this.#count
    return [tokens, logprobs ? new DataView(bytes, this.#tokenBytes + sequence * size, size) : undefined]
  }

  /** Has the next steps take about as long together as they should. */
  #pace(steps: number, began: number): void {
    const now = performance.now()
    const took = now - Math.max(began, this.#lastArrival)
    const fitting = Math.round((BATCH_MS * steps) / Math.max(0.01, took))
    this.#batch = Math.max(MIN_BATCH, Math.min(MAX_BATCH, 2 * this.#batch, fitting))
    this.#lastArrival = now
  }
}

function bytesOf({ shape, dtype }: Tensor): number {
  return byteSize(shape, dtype)
}
