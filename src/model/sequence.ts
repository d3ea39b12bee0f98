import { copyTensors } from "../kernels/copy.ts"
import type { Device } from "../kernels/device.ts"
import { type Plan, Run, type ScratchPool } from "../kernels/run.ts"
import { rowSlice, type Tensor } from "../kernels/tensor.ts"
import type { ForwardOptions, Network, PiecewisePassage } from "./network.ts"
import { commonLength, Prefix } from "./prefix.ts"
import { SavedPrefixes, type SavedPrefixOptions } from "./prefix_saved.ts"

/** What pieces of sequences go in by; one at a time. */
export interface Inlet {
  /** `[chunk]`, u32 */
  readonly ids: Tensor
  /** `[2]`, u32: the position of the first */
  readonly cursor: Tensor
}

/** What sequences of a model share. */
export interface SequenceParts {
  readonly device: Device
  readonly network: Network
  readonly pool: ScratchPool
  readonly inlet: Inlet
  readonly context: number
}

/** A piece of a sequence. */
export interface PieceOfTokens {
  /** The position of its first. */
  readonly at: number
  readonly tokens: readonly number[]
}

/** One sequence of a model: what its passage keeps of the tokens that went through. Calls on one must not overlap. */
export class Sequence {
  readonly device: Device
  readonly network: Network
  /** Which of the model's it is, from 0. */
  readonly index: number
  /** Positions that it holds. */
  readonly context: number
  /** Which tokens it has something of. */
  readonly prefix: Prefix
  readonly #pool: ScratchPool
  readonly inlet: Inlet
  readonly #passage: PiecewisePassage
  #saved: SavedPrefixes | undefined
  /** Of a full piece. */
  #plan: Plan | undefined

  constructor({ device, network, pool, inlet, context }: SequenceParts, passage: PiecewisePassage, index: number) {
    this.device = device
    this.index = index
    this.network = network
    this.context = context
    this.prefix = new Prefix(device, passage, context)
    this.#pool = pool
    this.inlet = inlet
    this.#passage = passage
  }

  /** Keeps prefixes of long prompts in a store, and looks for them there; without options no more. */
  savePrefixes(options: SavedPrefixOptions | undefined): void {
    this.#saved = options && new SavedPrefixes(this, options)
  }

  /** Must be called when other adapters are on: nothing that there is of tokens is theirs. */
  adapted(): void {
    this.prefix.forget()
    this.#saved?.adapted()
    this.dispose()
  }

  /**
   * Has as many of these tokens as are known from before: from what is here, copies of it, other sequences, or files.
   *
   * @returns how many; those behind them are to be prefilled
   */
  async reuse(ids: readonly number[], others: readonly Sequence[], signal?: AbortSignal): Promise<number> {
    await Promise.all([this, ...others].map(({ prefix }) => prefix.settled))
    let here = this.prefix.restore(ids)
    for (const other of others) here = Math.max(here, this.#takeOver(ids, here, other))
    return (await this.#saved?.load(ids, here, signal)) ?? here
  }

  /** Saves what there still is of these tokens, where prefixes are saved and it is worth it. */
  async savePrefix(ids: readonly number[]): Promise<void> {
    await this.#saved?.save(ids)
  }

  /** Lets tokens through, at positions `start`, `start + 1`, ... */
  async prefill(ids: readonly number[], start = 0, signal?: AbortSignal): Promise<void> {
    for (const piece of this.pieces(ids, start)) {
      signal?.throwIfAborted()
      const full = piece.tokens.length === this.#chunk
      const plan = (full ? this.#plan : undefined) ?? this.#planOf(piece.tokens.length)
      this.submit(plan, piece)
      if (full) this.#plan = plan
      else plan.dispose()
      await this.device.settle()
    }
  }

  /**
   * Records a piece of T tokens, for what is read of it; `submit` lets one through.
   *
   * @returns `[T, C]` after the final norm
   */
  record(run: Run, T: number, options?: ForwardOptions): Tensor {
    return this.#passage.forward(run, rowSlice(this.inlet.ids, 0, T), this.inlet, options)
  }

  /** Lets a piece through by a plan in which one of its length was recorded. */
  submit(plan: Plan, { at, tokens }: PieceOfTokens): void {
    this.prefix.reserve(at, at + tokens.length)
    this.device.write(this.inlet.ids, Uint32Array.from(tokens))
    this.device.write(this.inlet.cursor, Uint32Array.of(at, 0))
    plan.submit()
    this.prefix.append(at, tokens)
  }

  /** Tokens in pieces that go through at once. */
  *pieces(ids: readonly number[], start = 0): Generator<PieceOfTokens> {
    for (let at = 0; at < ids.length; at += this.#chunk) {
      yield { at: start + at, tokens: ids.slice(at, at + this.#chunk) }
    }
  }

  dispose(): void {
    this.#plan?.dispose()
    this.#plan = undefined
  }

  get #chunk(): number {
    return this.inlet.ids.shape[0]!
  }

  /** Copies what another sequence has of these tokens, if that is more than is here. */
  #takeOver(ids: readonly number[], here: number, { prefix }: Sequence): number {
    const common = ids.slice(0, commonLength(ids, prefix.tokens))
    const parts = common.length > here ? prefix.parts(common) : undefined
    if (!parts) return here
    this.prefix.forget() // from here on it is neither what it was nor what it will be
    const pairs = parts.map(({ tensor, end }, i) => {
      const [to, slots] = [this.prefix.kept[i]!.tensor, Math.min(end, tensor.shape[0]!)]
      return [rowSlice(tensor, 0, slots), rowSlice(to, 0, slots)] as const
    })
    copyTensors(this.device, pairs)
    this.prefix.adopt(
      common,
      parts.map(({ lowest }) => lowest),
    )
    return common.length
  }

  #planOf(T: number): Plan {
    const run = new Run(this.device, undefined, { exact: true })
    this.record(run, T)
    return run.plan(this.#pool)
  }
}
