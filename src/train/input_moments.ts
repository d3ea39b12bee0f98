import type { Device } from "../kernels/device.ts"
import { linearBackwardWeight } from "../kernels/linear.ts"
import { Run, ScratchPool } from "../kernels/run.ts"
import { type Matrix, rowSlice, type Tensor } from "../kernels/tensor.ts"
import type { Linear } from "../model/linear.ts"
import { freeInputs, type LossInputs, lossInputs, pack, writeInputs } from "../model/loss.ts"
import type { Model } from "../model/model.ts"
import type { Network } from "../model/network.ts"
import { freeVariable, readValues } from "../model/parameter.ts"
import { internals, type LanguageModel } from "../session.ts"

/**
 * The second moments of what goes into each linear layer, `X^T X / n` over the n tokens of some texts: `[C, C]` by path, row-major.
 * A Map is one of them.
 */
export interface Moments {
  has(path: string): boolean
  get(path: string): Float64Array | undefined | Promise<Float64Array | undefined>
}

export interface MomentsOptions {
  /** What sums may take beside the largest of them, on the GPU and then on the host, in bytes: 64 MiB by default. */
  readonly bytes?: number
  /** Looked at before each sequence. */
  readonly signal?: AbortSignal
}

/** Room for the sums of two layers of Gemma 3 270M's shape. */
const BYTES = 64 * 2 ** 20

/** Layers of one input, by their paths, and its width. */
interface Input {
  readonly paths: readonly string[]
  readonly C: number
}

/** What is summed while the sequences go through the model once. */
type Pass = readonly Input[]

/**
 * The moments of a model's inputs over some sequences, all in memory. The head counts as a layer, by the path of the embedding
 * where that is the head, unless its weight is ternary. Adapters stay as they are.
 *
 * @throws {RangeError} where there is no token, or no room
 */
export async function inputMoments(
  lm: LanguageModel,
  sequences: readonly (readonly number[])[],
  options: MomentsOptions = {},
): Promise<Map<string, Float64Array>> {
  const source = new PassingMoments(lm, sequences, options)
  const moments = new Map<string, Float64Array>()
  for (const path of source.paths) moments.set(path, await source.get(path)!)
  return moments
}

/**
 * The same, computed as they are asked for: the sequences go through the model once for as many layers as `bytes` has room for,
 * and only up to the last of them. It is cheapest to ask in the order of the weights. The model must stay as it is meanwhile.
 *
 * @throws {RangeError} where there is no token, or no room
 */
export function momentsOnDemand(
  lm: LanguageModel,
  sequences: readonly (readonly number[])[],
  options: MomentsOptions = {},
): Moments {
  return new PassingMoments(lm, sequences, options)
}

class PassingMoments implements Moments {
  readonly #lm: LanguageModel
  readonly #sequences: readonly (readonly number[])[]
  readonly #signal: AbortSignal | undefined
  readonly #count: number
  /** By path. */
  readonly #passes = new Map<string, Pass>()
  #last: { readonly pass: Pass; readonly sums: Promise<Map<string, Float32Array>> } | undefined

  constructor(lm: LanguageModel, sequences: readonly (readonly number[])[], { bytes = BYTES, signal }: MomentsOptions) {
    this.#lm = lm
    this.#sequences = sequences.filter(({ length }) => length > 0)
    this.#signal = signal
    this.#count = sequences.reduce((sum, { length }) => sum + length, 0)
    if (this.#count === 0) throw new RangeError("inputMoments: sequences have 0 tokens, expected at least 1")
    if (!(bytes >= 0)) throw new RangeError(`inputMoments: bytes is ${bytes}, expected a number from 0 on`)
    for (const pass of inPasses(inputsOf(internals(lm).model), bytes)) {
      for (const { paths } of pass) for (const path of paths) this.#passes.set(path, pass)
    }
  }

  get paths(): Iterable<string> {
    return this.#passes.keys()
  }

  has(path: string): boolean {
    return this.#passes.has(path)
  }

  get(path: string): Promise<Float64Array> | undefined {
    const pass = this.#passes.get(path)
    return pass && this.#moment(path, pass)
  }

  async #moment(path: string, pass: Pass): Promise<Float64Array> {
    if (this.#last?.pass !== pass) {
      this.#last = undefined // what was summed before is let go before there is more
      this.#last = { pass, sums: this.#sum(pass) }
    }
    const sum = (await this.#last.sums).get(path)!
    const moment = new Float64Array(sum)
    for (let i = 0; i < moment.length; i++) moment[i] = moment[i]! / this.#count
    return moment
  }

  async #sum(pass: Pass): Promise<Map<string, Float32Array>> {
    const { model, acquire } = internals(this.#lm)
    const release = await acquire()
    try {
      return await sumPass(model, this.#sequences, pass, this.#signal)
    } finally {
      release()
    }
  }
}

/** Which layers have one input, in the order of the weights: a forward pass is recorded and let go. */
function inputsOf(model: Model): Input[] {
  const { device, network } = model
  const paths = new Map<Tensor, string[]>()
  const see = (path: string, x: Tensor) => paths.set(x, [...(paths.get(x) ?? []), path])
  const before = observe(network, (path) => (_, x) => see(path, x))
  try {
    const hidden = forward(new Run(device), lossInputs(device, network, 1, true), 1)
    const head = headPath(model)
    if (head) see(head, hidden)
  } finally {
    observe(network, (path) => before.get(path))
  }
  const names = [...model.stored.keys()]
  const place = ({ paths: [path] }: Input) => names.findIndex((name) => name.startsWith(`${path}.`))
  const inputs = [...paths].map(([x, paths]) => ({ paths, C: x.shape[1]! }))
  return inputs.sort((a, b) => place(a) - place(b))
}

/** One behind the other, as many as there is room for beside the largest. */
function inPasses(inputs: readonly Input[], bytes: number): Pass[] {
  const passes: Input[][] = [[]]
  for (const input of inputs) {
    const sizes = [...passes.at(-1)!, input].map(({ C }) => 4 * C * C)
    const beside = sizes.reduce((sum, size) => sum + size, -Math.max(...sizes))
    if (beside > bytes) passes.push([input])
    else passes.at(-1)!.push(input)
  }
  return passes
}

/** Sums of `x x^T` by path, `[C, C]` each; layers of one input have one sum. */
async function sumPass(
  model: Model,
  sequences: readonly (readonly number[])[],
  pass: Pass,
  signal: AbortSignal | undefined,
): Promise<Map<string, Float32Array>> {
  const { device, network } = model
  const sums = pass.map(({ C }) => device.matrix("training", [C, C], "f32"))
  const inputs = lossInputs(device, network, Math.max(...sequences.map(({ length }) => length)))
  const pool = new ScratchPool(device)
  try {
    const first = new Map(pass.map(({ paths }, i) => [paths[0]!, sums[i]!]))
    // All are observed, so that all compute as they do where they are summed.
    observe(network, (path) => (run, x) => first.has(path) && addMoment(run, x, first.get(path)!))
    const head = first.get(headPath(model) ?? "")
    for (const ids of sequences) {
      signal?.throwIfAborted()
      writeInputs(device, inputs, pack([{ ids, labels: ids }], inputs.ids.shape[0]))
      const run = new Run(device)
      const hidden = forward(run, inputs, ids.length)
      if (head) addMoment(run, hidden, head)
      const plan = run.plan(pool)
      plan.submit()
      await device.settle()
      plan.dispose()
    }
    return await readSums(device, pass, sums)
  } finally {
    observe(network, () => undefined)
    for (const sum of sums) freeVariable(device, sum)
    freeInputs(device, inputs)
    pool.dispose()
  }
}

/** Reads sums back, and gives the memory of each back before the next comes. */
async function readSums(device: Device, pass: Pass, sums: readonly Matrix[]): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>()
  for (const [i, { paths }] of pass.entries()) {
    const sum = await readValues(device, sums[i]!, sums[i]!.shape)
    freeVariable(device, sums[i]!)
    for (const path of paths) values.set(path, sum)
  }
  return values
}

function forward(run: Run, { ids, cursor, passage }: LossInputs, T: number): Tensor {
  return passage.forward(run, rowSlice(ids, 0, T), { cursor })
}

/** Has every layer tell what goes into it. @returns whom each told before */
function observe(network: Network, observer: (path: string) => Linear["observe"]): Map<string, Linear["observe"]> {
  const before = new Map([...network.linears].map(([path, layer]) => [path, layer.observe]))
  for (const [path, layer] of network.linears) layer.observe = observer(path)
  return before
}

function addMoment(run: Run, x: Tensor, sum: Matrix): void {
  linearBackwardWeight(run, x, x, { dweight: sum, firstRow: 0, add: true })
}

/** Where the checkpoint has the matrix that logits are made with; undefined where that is ternary, behind a norm. */
function headPath({ config, stored }: Model): string | undefined {
  if (config.modelType === "hgrn_bit") return undefined
  const names = [...stored.keys()].map((name) => name.replace(/\.weight$/, ""))
  return names.find((name) => name.endsWith("lm_head")) ?? names.find((name) => name.endsWith("embed_tokens"))
}
