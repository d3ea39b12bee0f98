import type { Device } from "../kernels/device.ts"
import { type Adapter, type AdapterFactors, readModule, SIGMA } from "../model/adapter.ts"
import { peftParameters } from "../model/adapters.ts"
import type { Linear } from "../model/linear.ts"
import { type PeftAdapter, type PeftConfig, type PeftModule, rankAndScale, targetModules } from "../model/peft.ts"
import { readLinear } from "../model/read_linear.ts"
import type { SafetensorsEntry } from "../model/safetensors.ts"
import { truncatedSvd } from "./decompose.ts"
import { allocateRanks, frozenColumns, type LamdaInit, lamdaFactors, lamdaToLora } from "./lamda.ts"
import { type LoraInit, loraFactors, plainLora } from "./lora_init.ts"
import { seedFor } from "./random.ts"
import type { Trainable } from "./trained.ts"

/** How an adapter is made and trained. */
export interface AdapterSettings {
  readonly method: "lora" | "lamda"
  readonly rank: number
  /** The product is scaled by `alpha / rank`, or `alpha / sqrt(rank)` with `rslora`. */
  readonly alpha: number
  /** Names of linear layers, a regular expression over their paths, or `all-linear`. */
  readonly targets: readonly string[] | string
  readonly rankPattern: Readonly<Record<string, number>>
  readonly alphaPattern: Readonly<Record<string, number>>
  readonly rslora: boolean
  readonly dora: boolean
  readonly init: LoraInit | LamdaInit
  /** LaMDA: the share of the run after which all of B is frozen. */
  readonly eta: number
  /** LaMDA++: ranks from `low` to `high` by the spectra of the weights, `rank` on average. */
  readonly spectrum: { readonly low: number; readonly high: number } | null
  readonly seed: number
}

const LORA_INITS: readonly string[] = ["default", "gaussian", "pissa", "olora"]
const LAMDA_INITS: readonly string[] = ["svd-sigma", "svd-zero", "released"]

/** @throws {RangeError} for settings that cannot be, or do not go together */
export function expectSettings({ method, rank, alpha, init, dora, eta, spectrum }: AdapterSettings): void {
  if (!Number.isInteger(rank) || rank < 1) throw new RangeError(`rank: is ${rank}, expected a whole number from 1 on`)
  if (!(alpha > 0 && Number.isFinite(alpha))) throw new RangeError(`alpha: is ${alpha}, expected a number above 0`)
  const inits = method === "lora" ? LORA_INITS : LAMDA_INITS
  if (!inits.includes(init)) throw new RangeError(`init: is ${init}, expected one of ${inits.join(", ")} for ${method}`)
  if (dora && (method !== "lora" || init === "pissa" || init === "olora")) {
    throw new RangeError(`dora: is on with ${method} ${init}, expected lora with init default or gaussian`)
  }
  if (!(eta > 0 && eta <= 1)) throw new RangeError(`eta: is ${eta}, expected a number above 0 and at most 1`)
  if (spectrum && method !== "lamda") throw new RangeError(`spectrum: is on with ${method}, expected lamda`)
}

/** The adapter's config as PEFT knows it. */
export function peftConfig(settings: AdapterSettings, paths: readonly string[], baseModel: string): PeftConfig {
  const { targets, rank, alpha, rankPattern, alphaPattern, rslora, dora } = settings
  const last = (path: string) => path.slice(path.lastIndexOf(".") + 1)
  return {
    taskType: "CAUSAL_LM",
    baseModel,
    rank,
    alpha,
    rankPattern: new Map(Object.entries(rankPattern)),
    alphaPattern: new Map(Object.entries(alphaPattern)),
    targets: { modules: targets === "all-linear" ? [...new Set(paths.map(last))] : targets },
    useRslora: rslora,
    useDora: dora,
    dropout: 0,
  }
}

/** Gives a module's place among the base's weights to whatever decomposes it. */
interface Base {
  readonly path: string
  readonly shape: readonly [out: number, width: number]
  weight(): Promise<Float32Array>
}

/** An adapter's first numbers, by path. `onModule` hears of each that is done: decompositions take their time. */
export async function initialFactors(
  device: Device,
  linears: ReadonlyMap<string, Linear>,
  settings: AdapterSettings,
  baseModel: string,
  onModule: (done: number, of: number) => void = () => {},
): Promise<{ config: PeftConfig; factors: Map<string, AdapterFactors> }> {
  const paths = [...linears.keys()]
  let config = peftConfig(settings, paths, baseModel)
  const bases = targetModules(config.targets, paths).map((path): Base => {
    const linear = linears.get(path)!
    return { path, shape: linear.shape, weight: () => readLinear(device, path, linear) }
  })
  if (settings.spectrum) config = { ...config, rankPattern: await ranksBySpectrum(bases, settings) }
  const factors = new Map<string, AdapterFactors>()
  for (const base of bases) {
    factors.set(base.path, await moduleFactors(base, config, settings))
    onModule(factors.size, bases.length)
  }
  return { config, factors }
}

async function ranksBySpectrum(bases: readonly Base[], { rank, spectrum, seed }: AdapterSettings) {
  const spectra = new Map<string, ArrayLike<number>>()
  for (const { path, shape, weight } of bases) {
    const most = Math.min(spectrum!.high, ...shape)
    spectra.set(path, truncatedSvd(await weight(), shape, most, { seed: seedFor(seed, path) }).s)
  }
  return allocateRanks(spectra, { rank, ...spectrum! })
}

async function moduleFactors(base: Base, config: PeftConfig, settings: AdapterSettings): Promise<AdapterFactors> {
  const { path, shape } = base
  const { rank, scale } = rankAndScale(config, path)
  const { method, init } = settings
  const decomposes = init !== "default" && init !== "gaussian" && init !== "released"
  const weight = decomposes || settings.dora ? await base.weight() : undefined
  const options = { shape, rank, scale, seed: seedFor(settings.seed, path), ...(weight && { weight }) }
  const common = { rank, scale, in: shape[1], out: shape[0] }
  if (method === "lamda") {
    const { a, b, s, anchor } = lamdaFactors(init as LamdaInit, options)
    const offset = anchor && { b: Float32Array.from(anchor, (value) => -value) }
    return { ...common, a: Float32Array.from(a), b: Float32Array.from(b), s: Float32Array.from(s), offset }
  }
  const { a, b, base: given } = loraFactors(init as LoraInit, options)
  const offset = given && { a: Float32Array.from(given.a), b: Float32Array.from(given.b, (value) => -scale * value) }
  const magnitude = settings.dora ? rowLengths(weight!, shape[1]) : undefined // B is 0: those of the weight alone
  return { ...common, a: Float32Array.from(a), b: Float32Array.from(b), offset, magnitude }
}

function rowLengths(weight: Float32Array, columns: number): Float32Array {
  return Float32Array.from({ length: weight.length / columns }, (_, row) =>
    Math.sqrt(weight.subarray(row * columns, (row + 1) * columns).reduce((sum, value) => sum + value * value, 0)),
  )
}

/** What of an adapter is trained: LaMDA leaves A as it is, and freezes the columns of B over the first part of the run. */
export function adapterTrainables(adapter: Adapter, { method, eta }: AdapterSettings, steps: number): Trainable[] {
  const ranks = new Map(
    [...adapter].flatMap(([, { rank, parameters }]) => [...parameters.values()].map((x) => [x, rank])),
  )
  return [...peftParameters(adapter)].flatMap(([name, parameter]): Trainable[] => {
    const decay = parameter.shape.length > 1
    if (method === "lora") return [{ name, parameter, decay }]
    if (name.endsWith("lora_A.weight")) return []
    if (name.endsWith(SIGMA)) return [{ name, parameter, decay }]
    const rank = ranks.get(parameter)!
    return [{ name, parameter, decay, frozenColumns: (done) => frozenColumns(done, { rank, eta, steps }) }]
  })
}

/** The adapter as it is now, as plain LoRA on the untouched base. */
export async function toPeft(device: Device, adapter: Adapter, config: PeftConfig): Promise<PeftAdapter> {
  const modules = new Map<string, PeftModule>()
  let doubled = false
  for (const [path, module] of adapter) {
    const plain = toPlainLora(await readModule(device, module), config.useRslora)
    doubled ||= plain.rank > module.rank
    modules.set(path, plain)
  }
  if (!doubled) return { config, modules }
  const factor = config.useRslora ? Math.SQRT2 : 2
  const times = (pattern: ReadonlyMap<string, number>, by: number) => {
    return new Map([...pattern].map(([key, value]) => [key, value * by]))
  }
  return {
    config: {
      ...config,
      rank: 2 * config.rank,
      alpha: factor * config.alpha,
      rankPattern: times(config.rankPattern, 2),
      alphaPattern: times(config.alphaPattern, factor),
    },
    modules,
  }
}

function toPlainLora(factors: AdapterFactors, useRslora: boolean): PeftModule {
  const { rank, scale, in: width, out, magnitude, offset, s } = factors
  const [a, b] = [Float64Array.from(factors.a), Float64Array.from(factors.b)]
  const common = { scale, in: width, out, ...(magnitude && { magnitude }) }
  const store = (x: { a: Float64Array; b: Float64Array }, rank: number): PeftModule => {
    return { ...common, rank, a: Float32Array.from(x.a), b: Float32Array.from(x.b) }
  }
  if (s) {
    const anchor = offset && { anchor: Float64Array.from(offset.b, (value) => -value) }
    return store(lamdaToLora({ a, b, s: Float64Array.from(s), ...anchor }, scale), rank)
  }
  if (!offset) return { ...common, rank, a: factors.a, b: factors.b }
  const given = { a: Float64Array.from(offset.a!), b: Float64Array.from(offset.b, (value) => -value / scale) }
  const plain = plainLora({ a, b }, given, { rank, alpha: 1, useRslora })
  return store(plain, plain.rank)
}

type Key = "a" | "b" | "s" | "offset_a" | "offset_b" | "magnitude"
const NAMES: Readonly<Record<Key, string>> = {
  a: "lora_A.weight",
  b: "lora_B.weight",
  s: SIGMA,
  offset_a: "offset_A.weight",
  offset_b: "offset_B.weight",
  magnitude: "lora_magnitude_vector",
}

/** All factors as they are now, to go on from: what never changes too, as a decomposition may come out otherwise elsewhere. */
export async function factorEntries(device: Device, adapter: Adapter): Promise<SafetensorsEntry[]> {
  const entries: SafetensorsEntry[] = []
  for (const [path, module] of adapter) {
    const { a, b, s, offset, magnitude } = await readModule(device, module)
    const all = { a, b, s, offset_a: offset?.a, offset_b: offset?.b, magnitude }
    for (const [key, values] of Object.entries(all)) {
      if (!values) continue
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
      entries.push({ name: `${path}.${NAMES[key as Key]}`, dtype: "F32", shape: [values.length], bytes })
    }
  }
  return entries
}

/** The factors of these entries. */
export async function readFactors(
  linears: ReadonlyMap<string, Linear>,
  config: PeftConfig,
  read: (name: string) => Promise<Float32Array | undefined>,
): Promise<Map<string, AdapterFactors>> {
  const factors = new Map<string, AdapterFactors>()
  for (const path of targetModules(config.targets, [...linears.keys()])) {
    const get = (key: Key) => read(`${path}.${NAMES[key]}`)
    const [out, width] = linears.get(path)!.shape
    const [a, b, offsetB] = [await get("a"), await get("b"), await get("offset_b")]
    if (!a || !b) throw new RangeError(`resume: ${path} is not in the checkpoint, expected its factors`)
    factors.set(path, {
      ...rankAndScale(config, path),
      in: width,
      out,
      a,
      b,
      s: await get("s"),
      offset: offsetB && { a: await get("offset_a"), b: offsetB },
      magnitude: await get("magnitude"),
    })
  }
  return factors
}
