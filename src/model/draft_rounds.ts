import { type LikeliestState, likeliest, likeliestState } from "../kernels/likeliest.ts"
import { type Plan, Run, type ScratchPool } from "../kernels/run.ts"
import { place, resetSampleState, type SampleState, sample, sampleState, writeSeen } from "../kernels/sample.ts"
import { sampleAlong } from "../kernels/sample_along.ts"
import { byteSize, rowSlice, type Tensor, view } from "../kernels/tensor.ts"
import type { Beginning, DrawOptions } from "./answer.ts"
import { logits } from "./logits.ts"
import type { Sequence } from "./sequence.ts"

/** A sequence of a model, and where that model's plans have their scratch. */
export interface Seat {
  readonly sequence: Sequence
  readonly pool: ScratchPool
}

/** Where a round begins. */
export interface RoundStart {
  /** The token that goes through next, at position `at`. */
  readonly token: number
  readonly at: number
  /** How many tokens to draft. */
  readonly count: number
}

export interface Round {
  /** What the draft proposed, `count` tokens. */
  readonly drafted: readonly number[]
  /** What the target draws after the first token and each of those, `count + 1` tokens. */
  readonly drawn: readonly number[]
  /** By row, what is known of those tokens' probabilities, if asked for. */
  readonly known: readonly DataView[]
}

/**
 * Rounds of speculative decoding (arXiv:2211.17192) on one GPU: the draft takes some steps, the target then takes what they have
 * drawn in one piece and draws after each token of it. That is one submit and one read-back. Both draw with the same noise
 * (arXiv:2408.07978), the draft into the inlet of its own sequence. Nothing here knows which tokens count.
 */
export class DraftRounds {
  readonly #target: Seat
  readonly #draft: Seat
  /** The most tokens that a round drafts. */
  readonly #most: number
  /** What the draft's steps read and write, and what of the target's sequence `sampleAlong` reads: both in their inlets. */
  readonly #proposing: SampleState
  readonly #checking: Omit<SampleState, "output">
  /** What the target draws, a row after each token. */
  readonly #rows: SampleState
  readonly #likeliest: LikeliestState
  readonly #owned: readonly Tensor[]
  readonly #staging: GPUBuffer
  readonly #plans = new Map<string, Plan>()

  /** @param V size of the vocabulary, of both */
  constructor(target: Seat, draft: Seat, V: number, most: number) {
    this.#target = target
    this.#draft = draft
    this.#most = most
    const { device } = target.sequence
    const words = Math.ceil(V / 32)
    const tensor = (shape: readonly number[]) => device.tensor("scratch", shape, "u32")
    this.#rows = sampleState(device, { V, context: 1, sequences: most + 1 })
    this.#likeliest = likeliestState(device, most + 1)
    const checking = { settings: tensor([1, 8]), seen: tensor([1, words]) }
    const proposing = { settings: tensor([1, 8]), seen: tensor([1, words]), output: tensor([1, Math.max(1, most)]) }
    this.#checking = { ...checking, ...inletOf(target.sequence) }
    this.#proposing = { ...proposing, ...inletOf(draft.sequence) }
    this.#owned = [this.#rows, this.#likeliest, checking, proposing].flatMap((each): Tensor[] => Object.values(each))
    const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ
    this.#staging = device.buffer("scratch", this.#tokenBytes + bytesOf(this.#likeliest.output), usage)
  }

  /** Must be called before the first round of a beginning. */
  begin({ tokens, history, drawn }: Beginning, { sampling, logprobs = 0 }: DrawOptions): void {
    const { device } = this.#target.sequence
    for (const state of [this.#checking, this.#proposing]) {
      resetSampleState(device, state, 0, tokens, sampling, { history, drawn })
    }
    device.write(this.#likeliest.count, new Uint32Array(this.#most + 1).fill(logprobs))
  }

  /** Tells both which tokens the repetition penalty knows: the draft's steps have added what they drew. */
  remember(history: readonly number[]): void {
    for (const state of [this.#checking, this.#proposing]) {
      writeSeen(this.#target.sequence.device, state, 0, history)
    }
  }

  /** Lets a token through the draft that it has not drawn itself. */
  follow(token: number, at: number): void {
    const { sequence } = this.#draft
    const plan = this.#plan("follow", this.#draft, (run) => sequence.record(run, 1))
    sequence.submit(plan, { at, tokens: [token] })
  }

  /**
   * Submits a round; what of the positions behind `at` it overwrites is the caller's to reserve. It is done when what this
   * gives resolves, and only then may the next begin.
   */
  submit({ token, at, count }: RoundStart, logprobs: boolean): Promise<Round> {
    const { device } = this.#target.sequence
    for (const state of [this.#checking, this.#proposing]) place(device, state, 0, { token, position: at })
    const check = this.#check(count + 1, logprobs)
    const encoder = device.gpu.createCommandEncoder()
    const proposed = this.#proposing.output.storage.buffer!
    if (count > 0) {
      const step = this.#step()
      const pass = encoder.beginComputePass()
      for (let i = 0; i < count; i++) step.encode(pass)
      pass.end()
      encoder.copyBufferToBuffer(proposed, 0, this.#target.sequence.inlet.ids.storage.buffer!, 4, count * 4)
    }
    const pass = encoder.beginComputePass()
    check.encode(pass)
    pass.end()
    const drawn = this.#rows.ids.storage.buffer!
    encoder.copyBufferToBuffer(proposed, 0, this.#staging, 0, count * 4)
    encoder.copyBufferToBuffer(drawn, 0, this.#staging, this.#most * 4, (count + 1) * 4)
    const known = this.#likeliest.output
    if (logprobs) {
      encoder.copyBufferToBuffer(known.storage.buffer!, 0, this.#staging, this.#tokenBytes, bytesOf(known))
    }
    device.gpu.queue.submit([encoder.finish()])
    return this.#read(count, logprobs)
  }

  /** Frees what it holds; no round may be underway. */
  dispose(): void {
    const { device } = this.#target.sequence
    for (const plan of this.#plans.values()) plan.dispose()
    for (const { storage } of this.#owned) device.free(storage.buffer!)
    device.free(this.#staging)
  }

  /** Tokens come first in what is read: those drafted, those drawn. */
  get #tokenBytes(): number {
    return (2 * this.#most + 1) * 4
  }

  async #read(count: number, logprobs: boolean): Promise<Round> {
    const size = logprobs ? this.#staging.size : this.#tokenBytes
    const bytes = await this.#target.sequence.device.mapped(this.#staging, size)
    this.#draft.sequence.device.check()
    const row = bytesOf(this.#likeliest.output) / (this.#most + 1)
    const view = (r: number) => new DataView(bytes, this.#tokenBytes + r * row, row)
    return {
      drafted: [...new Uint32Array(bytes, 0, count)],
      drawn: [...new Uint32Array(bytes, this.#most * 4, count + 1)],
      known: logprobs ? Array.from({ length: count + 1 }, (_, r) => view(r)) : [],
    }
  }

  /** A step of the draft: what it draws it feeds itself. */
  #step(): Plan {
    const { sequence } = this.#draft
    return this.#plan("step", this.#draft, (run) => {
      sample(run, logits(run, sequence.network, sequence.record(run, 1)), this.#proposing)
    })
  }

  /** The target's way through n tokens, drawing after each. */
  #check(n: number, logprobs: boolean): Plan {
    const { sequence } = this.#target
    return this.#plan(`check ${n} ${logprobs}`, this.#target, (run) => {
      const scores = logits(run, sequence.network, sequence.record(run, n))
      sampleAlong(run, scores, rowSlice(sequence.inlet.ids, 0, n), this.#checking, this.#rows)
      if (logprobs) likeliest(run, scores, this.#rows, this.#likeliest)
    })
  }

  #plan(name: string, { sequence, pool }: Seat, record: (run: Run) => unknown): Plan {
    const known = this.#plans.get(name)
    if (known) return known
    const run = new Run(sequence.device)
    record(run)
    const plan = run.plan(pool)
    this.#plans.set(name, plan)
    return plan
  }
}

/** A sequence's inlet as the place of a token that is drawn and fed. */
function inletOf({ inlet: { ids, cursor } }: Sequence): Pick<SampleState, "ids" | "cursor"> {
  return { ids: rowSlice(ids, 0, 1), cursor: view(cursor, [1, 2]) }
}

function bytesOf({ shape, dtype }: Tensor): number {
  return byteSize(shape, dtype)
}
