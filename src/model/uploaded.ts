import type { Device } from "../kernels/device.ts"
import type { ExpertOptions } from "../kernels/expert_mix.ts"
import { isQuantized } from "../kernels/quantize.ts"
import type { Run } from "../kernels/run.ts"
import type { Variable } from "../kernels/tape.ts"
import type { Dtype, Matrix, Tensor } from "../kernels/tensor.ts"
import { ternarize } from "../kernels/ternarize.ts"
import type { Weight } from "./checkpoint.ts"
import type { DType } from "./dtype.ts"
import { roomFor } from "./joined.ts"
import type { BitWeight, Linear, LinearGroup } from "./linear.ts"
import type { Parameter } from "./parameter.ts"

/** The weights of a checkpoint on the GPU. */
export class Uploaded {
  /** By field; of a ternary weight its packed form. */
  readonly fields = new Map<string, Variable>()
  /** What ternary weights are made of, by field, where all is in f32. */
  readonly latents = new Map<string, Matrix>()
  /** What can be trained, by the checkpoint's names. */
  readonly parameters = new Map<string, Parameter>()
  /** Weights of which only a form in few bits is there, ternary or quantized, by the checkpoint's names. */
  readonly packed = new Map<string, Matrix>()
  /** The types that the checkpoint has them in. */
  readonly stored = new Map<string, DType>()
  /** Linear layers, by the checkpoint's names without `.weight`. */
  readonly linears = new Map<string, Linear>()
  readonly #names = new Map<string, string>()
  /** Weights that lie behind one another, by their fields. */
  readonly #joined = new Map<string, Tensor>()

  add({ spec, info }: Weight, variable: Variable, latent?: Matrix): void {
    this.fields.set(spec.field, variable)
    this.#names.set(spec.field, info.name)
    if (latent) this.latents.set(spec.field, latent)
    this.stored.set(info.name, info.dtype)
    if (latent) this.parameters.set(info.name, { variable: latent, shape: latent.shape, derived: variable as Matrix })
    else if (spec.ternary || isQuantized(variable.dtype)) this.packed.set(info.name, variable as Matrix)
    else this.parameters.set(info.name, { variable, shape: variable.shape })
  }

  tensor(field: string): Tensor {
    return this.fields.get(field) as Tensor
  }

  matrix(field: string): Matrix {
    return this.fields.get(field) as Matrix
  }

  /** Room for a weight that was asked for with others by `join`. */
  readonly room = new Map<string, Variable>()

  /** Puts weights of one type behind one another, if they can be. */
  join(device: Device, fields: readonly string[], shapes: readonly (readonly number[])[], dtype: Dtype): void {
    const joined = roomFor(device, shapes, dtype)
    if (!joined) return
    this.#joined.set(fields.join(), joined.whole)
    for (const [i, field] of fields.entries()) this.room.set(field, joined.parts[i]!)
  }

  /** Layers of one input; their weights as one where these lie behind one another. */
  group(fields: readonly string[], layers: readonly Linear[]): LinearGroup {
    const whole = this.#joined.get(fields.join())
    return { layers, joined: whole && { kind: "dense", matrix: asMatrix(whole) } }
  }

  /** Ternary layers of one input and one shape; their weights as one where these lie behind one another. */
  bitGroup(
    fields: readonly string[],
    layers: readonly Linear[],
    options: Pick<BitWeight, "eps" | "actQuant">,
  ): LinearGroup {
    const whole = this.#joined.get(fields.map((field) => `${field}.weight`).join())
    const norms = this.#joined.get(fields.map((field) => `${field}.norm`).join())
    return { layers, joined: whole && norms && { kind: "ternary", matrix: asMatrix(whole), norms, ...options } }
  }

  /** The linear layer of a field, in whatever form it is stored. */
  linear(field: string, experts: ExpertOptions | null): Linear {
    const dense = this.fields.get(field) as Matrix | undefined
    if (dense) return this.#layer(field, { shape: dense.shape, weight: { kind: "dense", matrix: dense }, adapters: [] })
    const [u, v] = [this.matrix(`${field}.u`), this.matrix(`${field}.v`)]
    const shape = [u.shape[0], v.shape[1]] as const
    if (experts && this.fields.has(`${field}.c`)) {
      const [c, gate] = [this.matrix(`${field}.c`), this.matrix(`${field}.router`)]
      const weight = { kind: "experts", experts: { u, c, v, gate }, options: experts } as const
      return this.#layer(`${field}.u`, { shape, weight, adapters: [] })
    }
    return this.#layer(`${field}.u`, { shape, weight: { kind: "low-rank", u, v }, adapters: [] })
  }

  /** The ternary linear layer of a field. */
  bitLinear(field: string, options: Pick<BitWeight, "eps" | "actQuant">): Linear {
    const [matrix, norm] = [this.matrix(`${field}.weight`), this.tensor(`${field}.norm`)]
    const weight = { kind: "ternary", matrix, norm, ...options } as const
    return this.#layer(`${field}.weight`, { shape: matrix.shape, weight, adapters: [] })
  }

  /** Records the ternary forms of weights anew, as they follow what they are made of. */
  derive(run: Run): void {
    for (const [field, latent] of this.latents) ternarize(run, latent, this.matrix(field))
  }

  #layer(field: string, layer: Linear): Linear {
    this.linears.set(this.#names.get(field)!.replace(/(\.[uv])?\.weight$/, ""), layer)
    return layer
  }
}

function asMatrix(tensor: Tensor): Matrix {
  const [rows, columns] = tensor.shape as [number, number]
  return { shape: [rows, columns], dtype: tensor.dtype, parts: [{ firstRow: 0, rows, tensor }] }
}
