import type { Command } from "commander"
import {
  type CacheDtype,
  type Checkpoint,
  cacheElementBytes,
  directoryStore,
  formatBytes,
  type GenerationConfig,
  kvCacheBytes,
  kvCacheBytesAllGlobal,
  loadBytes,
  type ModelConfig,
  parameterCounts,
  readAdapter,
  type StoredTensor,
  type TransformerConfig,
  type WeightPrecision,
} from "../src/index.ts"
import { interruptible } from "./interrupt.ts"
import { modelName, openModel } from "./model.ts"
import {
  addAdapterOption,
  addCacheDtypeOption,
  addCheckpointOptions,
  addContextOptions,
  addDtypeOption,
  addJsonOption,
  type CheckpointFlags,
} from "./options.ts"
import { formatCount, printJson, table } from "./output.ts"

interface Flags extends CheckpointFlags {
  readonly context?: number
  readonly chunk?: number
  readonly adapter?: string[]
  readonly dtype?: WeightPrecision
  readonly cacheDtype?: CacheDtype
  readonly tensors?: boolean
}

const CONTEXTS = [1024, 4096, 8192, 32768, 131072]

const EXAMPLES = `
Examples:
  gemlet inspect
  gemlet inspect --model path/to/checkpoint --tensors
  gemlet inspect --adapter path/to/adapter
  gemlet inspect --model google/gemma-3-270m --context 32768 --json
  gemlet inspect --dtype q4 --cache-dtype q8`

export function define(command: Command): void {
  command.description("Describes a checkpoint from its config and its files' headers. Needs no GPU.")
  addCacheDtypeOption(addDtypeOption(addContextOptions(addAdapterOption(addCheckpointOptions(command)))))
  addJsonOption(command, "print one object with all of it")
    .option("--tensors", "list every tensor: name, type, shape, bytes")
    .addHelpText("after", EXAMPLES)
    .action(inspect)
}

async function inspect(flags: Flags): Promise<void> {
  const checkpoint = await interruptible((signal) => openModel(flags, signal))
  await checkpoint.close()
  const report = describe(checkpoint, flags, await Promise.all((flags.adapter ?? []).map(describeAdapter)))
  if (flags.json) printJson(report)
  else process.stdout.write(`${render(report)}\n`)
}

type Report = ReturnType<typeof describe>

/** What --json prints; docs/cli.md describes the fields. */
function describe(checkpoint: Checkpoint, flags: Flags, adapters: readonly AdapterReport[]) {
  const { config, generation, weights, tensors } = checkpoint
  const stored = [...weights.values()]
  const used = new Set(stored.flatMap(({ info, scale }) => [info.name, ...(scale ? [scale.info.name] : [])]))
  const ignored = [...tensors.values()].filter(({ info }) => !used.has(info.name))
  const byDtype: Record<string, { tensors: number; bytes: number }> = {}
  for (const tensor of stored) {
    byDtype[storedType(tensor)] ??= { tensors: 0, bytes: 0 }
    const sum = byDtype[storedType(tensor)]!
    sum.tensors++
    sum.bytes += bytesOf(tensor)
  }
  const { eos: moreEos, ...sampling }: GenerationConfig = generation ?? { eos: [] }
  const { cacheDtype = "f32" } = flags
  if (config.modelType === "hgrn_bit" && cacheDtype !== "f32") {
    throw new RangeError(`--cache-dtype: value is ${cacheDtype}, expected f32 for a recurrent model, which has no keys`)
  }
  const load = loadBytes(checkpoint, flags)
  return {
    model: modelName(flags),
    config,
    eos: [...new Set([...config.eos, ...moreEos])],
    sampling,
    parameters: parameterCounts(stored.map(({ spec }) => spec)),
    weights: { tensors: stored.length, bytes: sumBytes(stored), byDtype },
    ignored: { tensors: ignored.length, bytes: sumBytes(ignored) },
    files: checkpoint.files,
    cacheDtype,
    kvCache: config.modelType === "hgrn_bit" ? [] : kvCacheOf(config, load.chunk, cacheDtype),
    load,
    adapters,
    tensors: flags.tensors
      ? [...tensors.values()].map((tensor) => ({
          name: tensor.info.name,
          dtype: storedType(tensor),
          shape: tensor.info.shape,
          bytes: bytesOf(tensor),
          file: tensor.file,
          used: used.has(tensor.info.name),
        }))
      : undefined,
  }
}

function kvCacheOf(config: TransformerConfig, chunk: number, dtype: CacheDtype) {
  const { maxPositions } = config
  const bytesPerElement = cacheElementBytes(config, dtype)
  return [...CONTEXTS.filter((context) => context < maxPositions), maxPositions].map((context) => ({
    context,
    bytes: kvCacheBytes(config, context, { chunk, bytesPerElement }),
    allGlobalBytes: kvCacheBytesAllGlobal(config, context, bytesPerElement),
  }))
}

type AdapterReport = Awaited<ReturnType<typeof describeAdapter>>

/** An adapter is small and is read whole. */
async function describeAdapter(path: string) {
  const folder = directoryStore(path)
  try {
    const { config, modules } = await readAdapter(folder)
    const file = await folder.open("adapter_model.safetensors")
    const all = [...modules].map(([name, module]) => {
      const { rank, scale, a, b, magnitude } = module
      return {
        name,
        rank,
        scale,
        in: module.in,
        out: module.out,
        parameters: a.length + b.length + (magnitude?.length ?? 0),
      }
    })
    const { rankPattern, alphaPattern } = config
    return {
      adapter: path,
      config: {
        ...config,
        rankPattern: Object.fromEntries(rankPattern),
        alphaPattern: Object.fromEntries(alphaPattern),
      },
      parameters: all.reduce((sum, { parameters }) => sum + parameters, 0),
      bytes: file!.byteLength,
      modules: all,
    }
  } finally {
    await folder.close?.()
  }
}

/** The type that the file has it in. */
function storedType({ info, blocks }: StoredTensor): string {
  return blocks?.dtype ?? info.dtype
}

function bytesOf({ info, blocks }: StoredTensor): number {
  const { start, end } = blocks ?? info
  return end - start
}

function sumBytes(tensors: readonly StoredTensor[]): number {
  return tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0)
}

function render(report: Report): string {
  const { config, parameters, weights, load } = report
  const types = Object.keys(weights.byDtype).join(", ")
  const head = `${report.model}: ${config.modelType}, ${formatCount(parameters.total)} parameters, ${formatBytes(weights.bytes)} in ${types}`
  const sections: [string, string][] = [
    ["Architecture", table([...architecture(config), ...vocabulary(report)])],
    ["Parameters", table(parameterRows(report), { right: [1, 2] })],
    ["Files", table(fileRows(report), { right: [1] })],
    cacheSection(report),
    [`GPU bytes to load with a context of ${formatCount(load.context)}`, table(loadRows(report), { right: [1] })],
  ]
  for (const adapter of report.adapters) {
    sections.push([`Adapter ${adapter.adapter}`, table(adapterRows(adapter, parameters.total))])
  }
  if (report.tensors) sections.push(["Tensors", table(tensorRows(report.tensors), { right: [3] })])
  return [head, ...sections.map(([title, body]) => `${title}\n${body.replace(/^/gm, "  ")}`)].join("\n\n")
}

function architecture(config: ModelConfig): string[][] {
  if (config.modelType === "hgrn_bit") {
    return [
      ["layers", `${config.numLayers}: gated linear recurrences, no attention`],
      ["width", formatCount(config.hiddenSize)],
      ["MLP", `${formatCount(config.intermediateSize)}, SiLU`],
      ["linear layers", "ternary, on activations normed and rounded to eight bits; the head too"],
      ["norms", `two per layer and one in each linear layer, epsilon ${config.eps}`],
    ]
  }
  const { layers, numHeads, numKvHeads, headDim } = config
  const kinds = new Map<string, { count: number; what: string; rope: string }>()
  for (const { window, rope } of layers) {
    const what = window === null ? "global" : `local (window ${window})`
    const scaled = rope.factor === 1 ? "" : `, positions divided by ${rope.factor}`
    const kind = kinds.get(what) ?? { count: 0, what, rope: `base ${formatCount(rope.theta)}${scaled}` }
    kind.count++
    kinds.set(what, kind)
  }
  const activation = config.activation === "silu" ? "SiLU" : "GELU (tanh)"
  const caps = { attention: config.attentionSoftcap, logits: config.finalSoftcap }
  const softcaps = Object.entries(caps).flatMap(([name, cap]) => (cap === null ? [] : [`${name} ${cap}`]))
  const heads = numKvHeads === 1 ? "1 head of keys and values" : `${numKvHeads} heads of keys and values`
  return [
    ["layers", `${layers.length}: ${[...kinds.values()].map(({ count, what }) => `${count} ${what}`).join(", ")}`],
    ...(kinds.size > 1
      ? [["order", `${layers.map(({ window }) => (window === null ? "G" : "l")).join("")} (l local, G global)`]]
      : []),
    ["width", formatCount(config.hiddenSize)],
    ["MLP", `${formatCount(config.intermediateSize)}, ${activation}`],
    [
      "attention",
      `${numHeads} query heads on ${heads}, each ${headDim} wide${config.qkNorm ? ", queries and keys normed" : ""}`,
    ],
    ["norms", `${config.sandwichNorms ? "four" : "two"} per layer, epsilon ${config.eps}`],
    ...[...kinds.values()].map(({ what, rope }) => [`rotary, ${what.split(" ")[0]}`, rope]),
    ...(softcaps.length > 0 ? [["soft-caps", softcaps.join(", ")]] : []),
    ["positions", formatCount(config.maxPositions)],
  ]
}

function vocabulary({ config, eos, sampling }: Report): string[][] {
  const special = { bos: config.bos, eos: eos.join(" "), pad: config.pad }
  return [
    [
      "vocabulary",
      `${formatCount(config.vocabSize)}, head ${config.tiedHead ? "tied to the embedding" : "of its own"}`,
    ],
    [
      "tokens",
      Object.entries(special)
        .flatMap(([name, id]) => (id === null || id === "" ? [] : [`${name} ${id}`]))
        .join(", "),
    ],
    ["sampling", describeSampling(sampling)],
  ]
}

function describeSampling({ doSample, temperature, topK, topP, minP, repetitionPenalty }: Report["sampling"]): string {
  if (!doSample) return "greedy unless asked otherwise"
  const named = { temperature, "top-k": topK, "top-p": topP, "min-p": minP, "repetition penalty": repetitionPenalty }
  const set = Object.entries(named).flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${value}`]))
  return set.join(", ") || "temperature 1"
}

function parameterRows({ parameters: { total, ...parts } }: Report): string[][] {
  const share = (count: number) => `${((100 * count) / total).toFixed(1)} %`
  const rows = Object.entries(parts).filter(([, count]) => count > 0)
  return [...rows, ["total", total] as const].map(([name, count]) => [name, formatCount(count), share(count)])
}

function fileRows({ files, weights, ignored }: Report): string[][] {
  const count = (tensors: number) => (tensors === 1 ? "1 tensor" : `${formatCount(tensors)} tensors`)
  const rows = files.map(({ name, byteLength }) => [name, formatBytes(byteLength), ""])
  for (const [dtype, { tensors, bytes }] of Object.entries(weights.byDtype)) {
    rows.push([`weights in ${dtype}`, formatBytes(bytes), count(tensors)])
  }
  if (ignored.tensors > 0)
    rows.push(["not used", formatBytes(ignored.bytes), `${count(ignored.tensors)} beside the text model`])
  return rows
}

function cacheSection({ kvCache, cacheDtype, load }: Report): [string, string] {
  if (kvCache.length === 0) return ["State of the recurrences (f32)", `${formatBytes(load.cache)} at every context`]
  const rows = kvCache.map(({ context, bytes, allGlobalBytes }) => [
    formatCount(context),
    formatBytes(bytes),
    formatBytes(allGlobalBytes),
    `${((100 * bytes) / allGlobalBytes).toFixed(1)} %`,
  ])
  const titles = ["context", "this model", "all layers global", "share"]
  return [
    `Key and value cache (${cacheDtype}, chunks of ${load.chunk})`,
    table([titles, ...rows], { right: [0, 1, 2, 3] }),
  ]
}

function loadRows({ load }: Report): string[][] {
  return [
    ["weights", formatBytes(load.weights), ""],
    ["cache", formatBytes(load.cache), ""],
    ["total", formatBytes(load.total), "and the scratch memory of a step"],
  ]
}

function adapterRows({ config, parameters, bytes, modules }: AdapterReport, total: number): string[][] {
  const ranks = modules.map(({ rank }) => rank)
  const [least, most] = [Math.min(...ranks), Math.max(...ranks)]
  const kind = [config.useDora ? "DoRA" : "LoRA", ...(config.useRslora ? ["scaled by the root of the rank"] : [])]
  const names = new Set(modules.map(({ name }) => name.slice(name.lastIndexOf(".") + 1)))
  const share = ((100 * parameters) / total).toFixed(1)
  return [
    ["kind", kind.join(", ")],
    ["trained on", config.baseModel ?? "unknown"],
    ["rank", least === most ? `${least}` : `${least} to ${most}`],
    ["alpha", `${config.alpha}`],
    ["modules", `${formatCount(modules.length)}: ${[...names].join(", ")}`],
    ["parameters", `${formatCount(parameters)}, ${share} % of the model's`],
    ["file", formatBytes(bytes)],
  ]
}

function tensorRows(tensors: NonNullable<Report["tensors"]>): string[][] {
  return tensors.map(({ name, dtype, shape, bytes, used }) => [
    name,
    dtype,
    `[${shape.join(", ")}]`,
    formatBytes(bytes),
    used ? "" : "not used",
  ])
}
