import { linearSampleTokens, sampleTargets } from "../kernels/linear_sample_tokens.ts"
import { linearTopK } from "../kernels/linear_top_k.ts"
import { type Plan, Run, ScratchPool } from "../kernels/run.ts"
import type { Tensor } from "../kernels/tensor.ts"
import { freeInputs, type LossInputs, lossInputs, pack, writeInputs } from "../model/loss.ts"
import type { Model } from "../model/model.ts"
import { NO_LABEL } from "./examples.ts"
import type { Row } from "./packing.ts"
import { generator } from "./permutation.ts"
import type { TeacherCacheInfo } from "./teacher_cache.ts"

/** Row r is drawn by this stream of the seed and r; those before it shuffle the data. */
const DRAW_STREAMS = 2 ** 31

export interface TargetOptions extends Pick<TeacherCacheInfo, "mode" | "k" | "temperature" | "context"> {
  readonly rowsAtOnce: number
  readonly seed: number
}

/** What a teacher thinks of rows, `[rows, T, k]`; zeros where nothing is scored. */
export interface Targets {
  readonly ids: Uint32Array
  readonly probs: Float32Array
}

/** Asks a teacher what it thinks of rows, with the adapters that are on when it is made. Calls must not overlap. */
export class TeacherTargets {
  readonly #model: Model
  readonly #options: TargetOptions
  readonly #pool: ScratchPool
  readonly #inputs: LossInputs
  /** `[tokens, k]`, where tokens are drawn */
  readonly #uniforms: Tensor | undefined
  readonly #plan: Plan
  readonly #ids: Tensor
  readonly #probs: Tensor

  constructor(model: Model, options: TargetOptions) {
    const { device, network } = model
    const { mode, k, context, rowsAtOnce } = options
    this.#model = model
    this.#options = options
    this.#pool = new ScratchPool(device)
    const tokens = rowsAtOnce * context
    this.#inputs = lossInputs(device, network, tokens)
    this.#uniforms = mode === "topk" ? undefined : device.tensor("scratch", [tokens, k])
    const run = new Run(device)
    const { ids, probs } = this.#record(run)
    this.#ids = run.keep(ids)
    this.#probs = run.keep(probs)
    this.#plan = run.plan(this.#pool)
  }

  #record(run: Run) {
    const { network } = this.#model
    const { mode, k, temperature } = this.#options
    const { ids, starts, cursor, passage } = this.#inputs
    const { x, weight, softcap } = network.head(run, passage.forward(run, ids, { cursor, starts }))
    if (mode === "topk") return linearTopK(run, x, weight, { softcap, temperature, k })
    return sampleTargets(run, linearSampleTokens(run, x, weight, this.#uniforms!, { softcap, temperature }), mode)
  }

  /**
   * @param rows  as many as go through the model at once, or fewer
   * @param first the number of the first of them, by which tokens are drawn
   */
  async of(rows: readonly Row[], first: number): Promise<Targets> {
    const { device } = this.#model
    const { context: T, k, rowsAtOnce } = this.#options
    writeInputs(device, this.#inputs, pack(rows.flat(), rowsAtOnce * T))
    if (this.#uniforms) device.write(this.#uniforms, this.#draws(rows, first))
    this.#plan.submit()
    const [ids, probs] = [
      new Uint32Array(await device.read(this.#ids)),
      new Float32Array(await device.read(this.#probs)),
    ]
    const targets = { ids: new Uint32Array(rows.length * T * k), probs: new Float32Array(rows.length * T * k) }
    let start = 0 // in the pack, where rows lie behind one another
    for (const [r, row] of rows.entries()) {
      const labels = row.flatMap((segment) => [...segment.labels.slice(1), NO_LABEL])
      for (const [t, label] of labels.entries()) {
        if (label === NO_LABEL) continue
        const [from, to] = [(start + t) * k, (r * T + t) * k]
        targets.ids.set(ids.subarray(from, from + k), to)
        targets.probs.set(probs.subarray(from, from + k), to)
      }
      start += labels.length
    }
    return targets
  }

  /** Uniform numbers, rising in each position: as many for a row however many rows there are at once. */
  #draws(rows: readonly Row[], first: number): Float32Array<ArrayBuffer> {
    const { context, k, rowsAtOnce, seed } = this.#options
    const uniforms = new Float32Array(rowsAtOnce * context * k)
    let at = 0
    for (const [r, row] of rows.entries()) {
      const next = generator(seed, DRAW_STREAMS + first + r)
      for (let t = row.reduce((sum, { ids }) => sum + ids.length, 0); t > 0; t--, at += k) {
        const draws = uniforms.subarray(at, at + k)
        for (let n = 0; n < k; n++) draws[n] = (next() >>> 8) / 2 ** 24 // what float32 has below 1
        draws.sort()
      }
    }
    return uniforms
  }

  dispose(): void {
    const { device } = this.#model
    this.#plan.dispose()
    this.#pool.dispose()
    freeInputs(device, this.#inputs)
    if (this.#uniforms) device.free(this.#uniforms.storage.buffer!)
  }
}
