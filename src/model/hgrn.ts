import { add } from "../kernels/add.ts"
import type { Device } from "../kernels/device.ts"
import { embed } from "../kernels/embed.ts"
import { glu, gluHalves } from "../kernels/glu.ts"
import { hgrnGates } from "../kernels/hgrn_gates.ts"
import type { Head } from "../kernels/linear_distill.ts"
import { lowerBound } from "../kernels/lower_bound.ts"
import { recompute } from "../kernels/recompute.ts"
import { recurrence } from "../kernels/recurrence.ts"
import { rmsNorm } from "../kernels/rms_norm.ts"
import type { Run } from "../kernels/run.ts"
import type { Matrix, Tensor } from "../kernels/tensor.ts"
import type { HgrnConfig } from "./hgrn_config.ts"
import { type ActQuant, type BitWeight, bitInput, type Linear, linear } from "./linear.ts"
import type { ForwardOptions, Network, Passage, Place } from "./network.ts"
import type { Uploaded } from "./upload.ts"

/** Weights of one layer, by the fields of weights.ts. */
interface BlockWeights {
  readonly preMixer: Tensor
  readonly mixer: {
    readonly i: Linear
    readonly f: Linear
    readonly g: Linear
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

  inPieces(): Passage {
    const states = this.#weights.layers.map(() => this.#device.tensor("cache", [this.#config.hiddenSize]))
    return this.#passage(states)
  }

  whole(): Passage {
    return this.#passage([])
  }

  /** @param states what the recurrences of the layers have come to, `[C]` each; none where sequences go through whole */
  #passage(states: readonly Tensor[]): Passage {
    return {
      forward: (run, ids, place, options) => forward(run, this.#config, this.#weights, ids, states, place, options),
      byteLength: states.reduce((sum, { storage }) => sum + storage.byteLength, 0),
      free: () => {
        for (const { storage } of states) this.#device.free(storage.buffer!)
      },
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
    return {
      preMixer: tensor("preMixer"),
      mixer: {
        i: linear("mixer.i"),
        f: linear("mixer.f"),
        g: linear("mixer.g"),
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
  const { decay, input } = hgrnGates(run, linear(run, x, w.i), linear(run, x, w.f), { lower, starts })
  const h = recurrence(run, decay, input, state && { h: state, cursor })
  const g = rmsNorm(run, linear(run, x, w.g), w.gNorm, normOptions(config))
  return linear(run, glu(run, h, g, "silu"), w.o)
}

/** One layer, `[T, C]` to `[T, C]`. */
function block(
  run: Run,
  config: HgrnConfig,
  w: BlockWeights,
  x: Tensor,
  lower: Tensor | undefined,
  state: Tensor | undefined,
  place: Place,
): Tensor {
  const u = rmsNorm(run, x, w.preMixer, normOptions(config))
  const h = add(run, x, mixer(run, config, w.mixer, u, lower, state, place))
  const v = rmsNorm(run, h, w.preMlp, normOptions(config))
  return add(run, h, linear(run, gluHalves(run, linear(run, v, w.mlp.gate), "silu"), w.mlp.down))
}

function forward(
  run: Run,
  config: HgrnConfig,
  weights: ModelWeights,
  ids: Tensor,
  states: readonly Tensor[],
  place: Place,
  { onState = () => {}, recompute: again = false }: ForwardOptions = {},
): Tensor {
  let x = embed(run, ids, weights.embedding, 1)
  onState(x)
  weights.layers.forEach((w, i) => {
    const layer = (x: Tensor) => {
      const lower = i > 0 ? lowerBound(run, weights.lowerBounds, i) : undefined
      return block(run, config, w, x, lower, states[i], place)
    }
    x = again ? recompute(run, x, layer) : layer(x)
    onState(x)
  })
  return rmsNorm(run, x, weights.norm, normOptions(config))
}

function normOptions({ eps }: HgrnConfig) {
  return { eps, offset: 0 }
}
