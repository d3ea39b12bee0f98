import { addNorm } from "../kernels/add_norm.ts"
import type { Device } from "../kernels/device.ts"
import { embed } from "../kernels/embed.ts"
import { glu, gluHalves } from "../kernels/glu.ts"
import { hgrnGates } from "../kernels/hgrn_gates.ts"
import type { Head } from "../kernels/linear_distill.ts"
import { lowerBound } from "../kernels/lower_bound.ts"
import { recurrence } from "../kernels/recurrence.ts"
import { rmsNorm } from "../kernels/rms_norm.ts"
import type { Run } from "../kernels/run.ts"
import { byteSize, type Matrix, rowSlice, type Tensor, view } from "../kernels/tensor.ts"
import type { HgrnConfig } from "./hgrn_config.ts"
import { type Stream, throughLayers } from "./layers.ts"
import { type ActQuant, type BitWeight, bitInput, type Linear, type LinearGroup, linear, linears } from "./linear.ts"
import type { ForwardOptions, Network, Passage, Place, SequenceOptions, Sequences, WholePassage } from "./network.ts"
import type { Uploaded } from "./uploaded.ts"

/** Weights of one layer, by the fields of weights.ts. */
interface BlockWeights {
  readonly preMixer: Tensor
  readonly mixer: {
    /** i, f and g */
    readonly projections: LinearGroup
    readonly o: Linear
    readonly gNorm: Tensor
  }
  readonly preMlp: Tensor
  readonly mlp: { readonly gate: Linear; readonly down: Linear }
}

interface ModelWeights {
  readonly embedding: Matrix
  /** `[L, C]` */
  readonly lowerBounds: Matrix
  readonly layers: readonly BlockWeights[]
  readonly norm: Tensor
  readonly head: BitWeight
}

/** The MatMul-free language model (Zhu et al., arXiv:2406.02528) as its authors' code computes it. */
export class Hgrn implements Network {
  readonly linears: ReadonlyMap<string, Linear>
  readonly #device: Device
  readonly #config: HgrnConfig
  readonly #uploaded: Uploaded
  readonly #weights: ModelWeights

  constructor(device: Device, config: HgrnConfig, uploaded: Uploaded, actQuant: ActQuant) {
    this.#device = device
    this.#config = config
    this.#uploaded = uploaded
    this.#weights = weightsOf(config, uploaded, actQuant)
    this.linears = uploaded.linears
  }

  inPieces({ sequences }: SequenceOptions): Sequences {
    const C = this.#config.hiddenSize
    const states = this.#weights.layers.map(() => this.#device.tensor("cache", [sequences, C]))
    const each = Array.from({ length: sequences }, (_, i) => {
      const own = states.map((h) => rowSlice(h, i, i + 1))
      // The state after a token is all that the next one sees of those before it.
      const kept = own.map((tensor, layer) => ({ name: `layers.${layer}.h`, tensor, window: 2 }))
      return { ...this.#passage(own.map((h) => view(h, [C]))), kept }
    })
    return {
      each,
      together: (run, ids, cursor) => {
        const n = ids.shape[0]!
        if (n === 1) return each[0]!.forward(run, ids, { cursor })
        return this.#passage(states.map((h) => rowSlice(h, 0, n))).forward(run, ids, { cursor })
      },
    }
  }

  whole(): WholePassage {
    return { ...this.#passage([]), free: () => {} }
  }

  /** @param states what the recurrences of the layers have come to, `[C]` each; none where sequences go through whole */
  #passage(states: readonly Tensor[]): Passage {
    return {
      forward: (run, ids, place, options) => forward(run, this.#config, this.#weights, ids, states, place, options),
      byteLength: states.reduce((sum, { shape, dtype }) => sum + byteSize(shape, dtype), 0),
    }
  }

  head(run: Run, x: Tensor): Head {
    const { head } = this.#weights
    return { x: bitInput(run, x, head), weight: head.matrix, softcap: null }
  }

  derive(run: Run): void {
    this.#uploaded.derive(run)
  }
}

function weightsOf({ numLayers, bitEps: eps }: HgrnConfig, uploaded: Uploaded, actQuant: ActQuant): ModelWeights {
  const options = { eps, actQuant }
  const block = (_: unknown, i: number): BlockWeights => {
    const tensor = (field: string) => uploaded.tensor(`layers.${i}.${field}`)
    const linear = (field: string) => uploaded.bitLinear(`layers.${i}.${field}`, options)
    const group = (fields: readonly string[]) =>
      uploaded.bitGroup(
        fields.map((field) => `layers.${i}.${field}`),
        fields.map(linear),
        options,
      )
    return {
      preMixer: tensor("preMixer"),
      mixer: {
        projections: group(["mixer.i", "mixer.f", "mixer.g"]),
        o: linear("mixer.o"),
        gNorm: tensor("mixer.gNorm"),
      },
      preMlp: tensor("preMlp"),
      mlp: { gate: linear("mlp.gate"), down: linear("mlp.down") },
    }
  }
  return {
    embedding: uploaded.matrix("embedding"),
    lowerBounds: uploaded.matrix("lowerBounds"),
    layers: Array.from({ length: numLayers }, block),
    norm: uploaded.tensor("norm"),
    head: { matrix: uploaded.matrix("head.weight"), norm: uploaded.tensor("head.norm"), ...options },
  }
}

/**
 * The token mixer, `[T, C]` to `[T, C]`: `h = f h + (1 - f) SiLU(i)`, gated. Here the norm is on the gate's projection and
 * the SiLU on the state, the other way round than in most gated norms.
 *
 * @param lower what the layer never forgets, `[C]`; absent in the first
 */
function mixer(
  run: Run,
  config: HgrnConfig,
  w: BlockWeights["mixer"],
  x: Tensor,
  lower: Tensor | undefined,
  state: Tensor | undefined,
  { cursor, starts }: Place,
): Tensor {
  const [i, f, gate] = linears(run, x, w.projections) as [Tensor, Tensor, Tensor]
  const { decay, input } = hgrnGates(run, i, f, { lower, starts })
  const h = recurrence(run, decay, input, state && { h: state, cursor })
  const g = rmsNorm(run, gate, w.gNorm, normOptions(config))
  return linear(run, glu(run, h, g, "silu"), w.o)
}

/** One layer; `next` is the norm that follows. */
function block(
  run: Run,
  config: HgrnConfig,
  w: BlockWeights,
  { h: x, u }: Stream,
  next: Tensor,
  lower: Tensor | undefined,
  state: Tensor | undefined,
  place: Place,
): Stream {
  const a = mixer(run, config, w.mixer, u, lower, state, place)
  const { h, u: v } = addNorm(run, x, a, { next: w.preMlp }, normOptions(config))
  const m = linear(run, gluHalves(run, linear(run, v, w.mlp.gate), "silu"), w.mlp.down)
  return addNorm(run, h, m, { next }, normOptions(config))
}

function forward(
  run: Run,
  config: HgrnConfig,
  weights: ModelWeights,
  ids: Tensor,
  states: readonly Tensor[],
  place: Place,
  options?: ForwardOptions,
): Tensor {
  const x = embed(run, ids, weights.embedding, 1)
  const { layers } = weights
  const norms = { weights: [...layers.map(({ preMixer }) => preMixer), weights.norm], ...normOptions(config) }
  const layer = (i: number, stream: Stream, next: Tensor) => {
    const lower = i > 0 ? lowerBound(run, weights.lowerBounds, i) : undefined
    return block(run, config, layers[i]!, stream, next, lower, states[i], place)
  }
  return throughLayers(run, x, norms, layer, options)
}

function normOptions({ eps }: HgrnConfig) {
  return { eps, offset: 0 }
}
