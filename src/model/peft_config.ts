import { isObject, Keys, show } from "./keys.ts"
import { type Folder, readJson } from "./source.ts"

/** The part of an adapter_config.json that says what the adapter computes and where it sits. */
export interface PeftConfig {
  readonly taskType: string | undefined
  /** `base_model_name_or_path`: what it was trained on. */
  readonly baseModel: string | undefined
  readonly rank: number
  readonly alpha: number
  /** Overrides of rank and alpha. A key is a regular expression over the end of a module path; the first match counts. */
  readonly rankPattern: ReadonlyMap<string, number>
  readonly alphaPattern: ReadonlyMap<string, number>
  readonly targets: TargetRule
  /** The scale is `alpha / sqrt(rank)` instead of `alpha / rank` (arXiv:2312.03732). */
  readonly useRslora: boolean
  /** Rows of the adapted weight are given a learnt norm (arXiv:2402.09353). */
  readonly useDora: boolean
  readonly dropout: number
}

/** Which modules an adapter sits on, in PEFT's terms. */
export interface TargetRule {
  /** Ends of module paths, or a regular expression over whole ones, or `"all-linear"`. */
  readonly modules: readonly string[] | string
  readonly exclude?: readonly string[] | string
  /** Layers that listed modules are looked for in; all when undefined. */
  readonly layersToTransform?: readonly number[]
  /** What the list of layers is called in a path, `layers` for instance; anything before a number when undefined. */
  readonly layersPattern?: readonly string[]
}

export const CONFIG_FILE = "adapter_config.json"

/** PEFT's choice for Gemma where a config names no targets. */
const GEMMA_TARGETS = ["q_proj", "v_proj"]
const LARGEST_RANK = 2 ** 20
/** How training began or is to be run; the two tensors hold all that came of it. */
const HARMLESS = new Set(
  `auto_mapping revision inference_mode peft_version megatron_core loftq_config eva_config corda_config lora_ga_config
  qalora_group_size runtime_config`.split(/\s+/),
)
/** Initial values that leave the base as it is. After the others an adapter fits a changed base only. */
const KEEPS_BASE: readonly unknown[] = [undefined, true, false, "gaussian", "eva", "orthogonal"]

/**
 * Reads adapter_config.json.
 *
 * @throws RangeError, TypeError or SyntaxError naming the file and the key, for anything that is not plain LoRA, rsLoRA
 * or DoRA on linear modules
 */
export async function readPeftConfig(folder: Folder): Promise<PeftConfig> {
  const json = await readJson(folder, CONFIG_FILE)
  if (json === undefined) {
    throw new RangeError(`${folder.name}: ${CONFIG_FILE} is missing, expected the folder of a PEFT adapter`)
  }
  return parsePeftConfig(json)
}

/** {@link readPeftConfig} of a parsed file. */
export function parsePeftConfig(json: unknown): PeftConfig {
  const keys = new Keys(json, CONFIG_FILE)
  keys.choice("peft_type", ["LORA"])
  refuseOthers(keys)
  const config: PeftConfig = {
    taskType: text(keys, "task_type"),
    baseModel: text(keys, "base_model_name_or_path"),
    rank: keys.integer("r", 1, LARGEST_RANK, 8),
    alpha: keys.positive("lora_alpha", 8),
    rankPattern: pattern(keys, "rank_pattern", (nested, key) => nested.integer(key, 1, LARGEST_RANK)),
    alphaPattern: pattern(keys, "alpha_pattern", (nested, key) => nested.positive(key)),
    targets: targetRule(keys),
    useRslora: keys.flag("use_rslora", false),
    useDora: keys.flag("use_dora", false),
    dropout: dropout(keys),
  }
  const values = json as Record<string, unknown>
  keys.refuseUnread((key) => HARMLESS.has(key) || isEmpty(values[key]))
  return config
}

/** Settings of other adapters that are known, so that the error can say more than "no such key". */
function refuseOthers(keys: Keys): void {
  keys.choice("bias", ["none"], "none")
  for (const key of ["fan_in_fan_out", "lora_bias", "use_qalora"]) {
    if (keys.flag(key, false)) throw new RangeError(keys.describe(key, "false"))
  }
  const wholeModules = keys.get("modules_to_save")
  if (!isEmpty(wholeModules)) {
    throw new RangeError(
      keys.describe("modules_to_save", "null (only low-rank matrices of linear modules are supported)"),
    )
  }
  if (!KEEPS_BASE.includes(keys.get("init_lora_weights"))) {
    const expected = "true (the adapter fits a changed base; save it with path_initial_model_for_weight_conversion)"
    throw new RangeError(keys.describe("init_lora_weights", expected))
  }
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value) || value === "") return value.length === 0
  return value === undefined || value === null || (isObject(value) && Object.keys(value).length === 0)
}

function text(keys: Keys, key: string): string | undefined {
  const value = keys.get(key)
  if (value !== undefined && typeof value !== "string") throw new TypeError(keys.describe(key, "a string"))
  return value
}

function dropout(keys: Keys): number {
  const value = keys.get("lora_dropout") ?? 0
  if (typeof value !== "number") throw new TypeError(keys.describe("lora_dropout", "a number"))
  if (!(value >= 0 && value < 1)) throw new RangeError(keys.describe("lora_dropout", "a number of [0, 1)"))
  return value
}

function pattern(keys: Keys, key: string, read: (nested: Keys, key: string) => number): Map<string, number> {
  const nested = keys.nested(key)
  const names = Object.keys(keys.get(key) ?? {})
  return new Map(
    names.map((name) => {
      expression(`(${name})`, `${CONFIG_FILE}: ${key} has ${show(name)}`)
      return [name, read(nested!, name)]
    }),
  )
}

function targetRule(keys: Keys): TargetRule {
  const modules = namesOrExpression(keys, "target_modules") ?? GEMMA_TARGETS
  const layers = keys.get("layers_to_transform")
  const layersToTransform = layers === undefined ? undefined : Array.isArray(layers) ? layers : [layers]
  if (layersToTransform?.some((layer) => !Number.isSafeInteger(layer) || layer < 0)) {
    throw new TypeError(keys.describe("layers_to_transform", "layer numbers"))
  }
  const layersPattern = namesOrExpression(keys, "layers_pattern")
  const rule: TargetRule = {
    modules,
    exclude: namesOrExpression(keys, "exclude_modules"),
    layersToTransform,
    layersPattern: typeof layersPattern === "string" ? [layersPattern] : layersPattern,
  }
  expectExpressions(rule, CONFIG_FILE)
  return rule
}

function namesOrExpression(keys: Keys, key: string): readonly string[] | string | undefined {
  const value = keys.get(key)
  if (value === undefined || typeof value === "string") return value
  if (Array.isArray(value) && value.every((name) => typeof name === "string")) return value
  throw new TypeError(keys.describe(key, "names or a regular expression"))
}

function expectExpressions({ modules, exclude, layersPattern = [] }: TargetRule, subject: string): void {
  if (typeof modules === "string") expression(modules, `${subject}: target_modules is ${show(modules)}`)
  if (typeof exclude === "string") expression(exclude, `${subject}: exclude_modules is ${show(exclude)}`)
  for (const name of layersPattern) layerExpression(name, subject)
}

/** Finds the layer's number in a path, in a group of that name: the last number behind such a list of layers. */
export function layerExpression(list: string, subject: string): RegExp {
  return expression(`.*\\.(?:${list})\\.(?<layer>\\d+)\\..*`, `${subject}: layers_pattern is ${show(list)}`)
}

/** A regular expression over a whole path. PEFT's are Python's, of which JavaScript knows nearly all. */
export function expression(source: string, subject: string): RegExp {
  try {
    return new RegExp(`^(?:${source})$`)
  } catch {
    throw new SyntaxError(`${subject}, expected a regular expression that JavaScript can read`)
  }
}

/** A pattern's value for a module, or the fallback: PEFT's `get_pattern_key`. */
function override(pattern: ReadonlyMap<string, number>, path: string, fallback: number): number {
  for (const [key, value] of pattern) if (expression(`(.*\\.)?(${key})`, key).test(path)) return value
  return fallback
}

/** The rank of one module and the scale of its product `B A`. */
export function rankAndScale(config: PeftConfig, path: string): { rank: number; scale: number } {
  const rank = override(config.rankPattern, path, config.rank)
  const alpha = override(config.alphaPattern, path, config.alpha)
  return { rank, scale: alpha / (config.useRslora ? Math.sqrt(rank) : rank) }
}

/** adapter_config.json as PEFT writes it: keys in order, two spaces. */
export function formatPeftConfig(config: PeftConfig): string {
  const { modules, exclude, layersToTransform, layersPattern } = config.targets
  const json = {
    alpha_pattern: Object.fromEntries(config.alphaPattern),
    auto_mapping: null,
    base_model_name_or_path: config.baseModel ?? null,
    bias: "none",
    exclude_modules: exclude ?? null,
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: layersPattern ?? null,
    layers_to_transform: layersToTransform ?? null,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    modules_to_save: null,
    peft_type: "LORA",
    r: config.rank,
    rank_pattern: Object.fromEntries(config.rankPattern),
    revision: null,
    target_modules: modules,
    task_type: config.taskType ?? null,
    use_dora: config.useDora,
    use_rslora: config.useRslora,
  }
  return JSON.stringify(json, null, 2)
}
