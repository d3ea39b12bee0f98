import { copiesOf, copyTensors } from "../kernels/copy.ts"
import type { Device } from "../kernels/device.ts"
import type { Tensor } from "../kernels/tensor.ts"
import type { Kept } from "./network.ts"

/** Copies from before the last steps of an answer, of which some may turn out to lie past its end. */
const COPIES_BEHIND = 3

/** What the rings of a passage held at some time. */
export interface RingCopy {
  readonly rings: readonly Tensor[]
  /** The first position that each ring still held. */
  readonly lowest: readonly number[]
  /** Where the sequence ended. */
  readonly end: number
  /** It is of one of an answer's steps, which soon lie far behind. */
  readonly passing: boolean
  /** The sequence as far as it still counts; undefined while the tokens before `end` are those of the passage. */
  tokens: readonly number[] | undefined
}

/** Copies of a passage's rings on the GPU, within a budget. Memory that was made stays, for later copies. */
export class RingCopies {
  readonly #device: Device
  readonly #rings: readonly Tensor[]
  /** How many there may be. */
  #most: number
  #all: readonly RingCopy[] = []
  #spare: (readonly Tensor[])[] = []
  #underway: Promise<void> = Promise.resolve()

  /** @param budget bytes for all copies; one is made at any rate */
  constructor(device: Device, rings: readonly Kept[], budget: number) {
    this.#device = device
    this.#rings = rings.map(({ tensor }) => tensor)
    const bytes = this.#rings.reduce((sum, { storage }) => sum + storage.byteLength, 0)
    this.#most = Math.max(1, Math.floor(budget / Math.max(1, bytes)))
  }

  /** The oldest first. */
  get all(): readonly RingCopy[] {
    return this.#all
  }

  /** Resolves when it is known of every copy whether there was memory for it; those without are gone then. */
  get settled(): Promise<void> {
    return this.#underway
  }

  /** Takes a copy, in place of the oldest where there are as many as there may be. */
  take(copy: Pick<RingCopy, "lowest" | "end" | "passing">): void {
    const behind = this.#all.filter(({ passing }) => passing)
    const full = this.#all.length >= this.#most
    const oldest = copy.passing && behind.length >= COPIES_BEHIND ? behind[0] : full ? this.#all[0] : undefined
    if (oldest) this.drop(oldest)
    const spare = this.#spare.pop()
    if (!spare && this.#most === 0) return
    if (spare) this.#copy(this.#rings, spare)
    this.#all = [...this.#all, { ...copy, rings: spare ?? this.#make(), tokens: undefined }]
  }

  /** Brings a copy back. */
  restore({ rings }: RingCopy): void {
    this.#copy(rings, this.#rings)
  }

  drop(copy: RingCopy): void {
    this.#all = this.#all.filter((each) => each !== copy)
    this.#spare.push(copy.rings)
  }

  #copy(from: readonly Tensor[], to: readonly Tensor[]): void {
    copyTensors(
      this.#device,
      from.map((x, i) => [x, to[i]!]),
    )
  }

  #make(): readonly Tensor[] {
    const { tensors, made } = copiesOf(this.#device, "cache", this.#rings)
    const known = made.then((worked) => {
      if (worked) return
      this.#all = this.#all.filter(({ rings }) => rings !== tensors)
      this.#spare = this.#spare.filter((rings) => rings !== tensors)
      this.#most = this.#all.length + this.#spare.length
    })
    this.#underway = this.#underway.then(() => known)
    return tensors
  }
}
