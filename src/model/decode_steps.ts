import type { Device } from "../kernels/device.ts"
import { type LikeliestState, likeliest, likeliestState } from "../kernels/likeliest.ts"
import { type Plan, Run, type ScratchPool } from "../kernels/run.ts"
import { type SampleState, sample, sampleState } from "../kernels/sample.ts"
import { rowSlice, type Tensor } from "../kernels/tensor.ts"
import { logits } from "./logits.ts"
import type { Network, Sequences } from "./network.ts"

/** What a decode step does. */
export interface StepKind {
  /** Of how many sequences, from the first on. */
  readonly n: number
  /** Draw only what masks allow. */
  readonly masked: boolean
  /** Tell log-probabilities. */
  readonly logprobs: boolean
}

/** A step of the first sequence that only draws. */
export const PLAIN_STEP: StepKind = { n: 1, masked: false, logprobs: false }

/** What decode steps are made of. */
export interface StepParts {
  readonly device: Device
  readonly network: Network
  readonly pool: ScratchPool
  /** Positions of a sequence. */
  readonly context: number
  /** Size of the vocabulary. */
  readonly V: number
  readonly sequences: Sequences
}

/** Decode steps of a model's sequences, and what they read and write. */
export class DecodeSteps {
  readonly state: SampleState
  /** `[B, ceil(V / 32)]`, u32: the tokens that a masked step may draw. */
  readonly mask: Tensor
  readonly likeliest: LikeliestState
  readonly #parts: StepParts
  readonly #plans = new Map<string, Plan>()

  constructor(parts: StepParts) {
    const { device, context, V, sequences } = parts
    const B = sequences.each.length
    this.#parts = parts
    this.state = sampleState(device, { V, context, sequences: B })
    this.mask = device.tensor("scratch", [B, Math.ceil(V / 32)], "u32")
    this.likeliest = likeliestState(device, B)
  }

  /** The token of each of n sequences to its successor; made once for each kind. */
  plan({ n, masked, logprobs }: StepKind): Plan {
    const name = `${n} ${masked} ${logprobs}`
    const known = this.#plans.get(name)
    if (known) return known
    const { device, network, pool, sequences } = this.#parts
    const run = new Run(device)
    const { ids, cursor } = this.state
    const scores = logits(run, network, sequences.together(run, rowSlice(ids, 0, n), cursor))
    sample(run, scores, this.state, masked ? this.mask : undefined)
    if (logprobs) likeliest(run, scores, this.state, this.likeliest)
    const plan = run.plan(pool)
    this.#plans.set(name, plan)
    return plan
  }

  /** Plans are of adapters that are on. */
  dispose(): void {
    for (const plan of this.#plans.values()) plan.dispose()
    this.#plans.clear()
  }
}
