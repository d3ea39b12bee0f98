import type { Checkpoint, Weight } from "./checkpoint.ts"
import type { ModelConfig } from "./config.ts"
import { clip, show } from "./keys.ts"
import { expression, layerExpression, type TargetRule } from "./peft_config.ts"
import { isHead, type WeightSpec, weightTable } from "./weights.ts"

/**
 * The module paths that a rule selects, in the order of `paths`, by PEFT's rules: a listed name selects the path that it is
 * and those that end with it, a string is a regular expression over whole paths, `"all-linear"` is all but the head.
 *
 * @throws RangeError when nothing is selected
 */
export function targetModules(rule: TargetRule, paths: readonly string[]): string[] {
  const selected = paths.filter((path) => isTarget(rule, path))
  if (selected.length > 0) return selected
  const ends = [...new Set(paths.map((path) => path.slice(path.lastIndexOf(".") + 1)))].join(", ")
  throw new RangeError(`targetModules: ${describe(rule)} is in no module, expected some of ${clip(ends)}`)
}

function describe({ modules, exclude, layersToTransform }: TargetRule): string {
  const but = exclude === undefined ? "" : ` without ${show(exclude)}`
  return `${show(modules)}${but}${layersToTransform ? ` in layers ${show(layersToTransform)}` : ""}`
}

/** Whether a rule selects a path. */
export function isTarget(rule: TargetRule, path: string): boolean {
  const { modules, exclude = [] } = rule
  if (typeof exclude === "string" ? matches(exclude, path) : endsWithOne(exclude, path)) return false
  if (modules === "all-linear") return !endsWithOne(["lm_head"], path)
  if (typeof modules === "string") return matches(modules, path)
  // A name that is the whole path is not asked for its layer.
  return modules.includes(path) || (endsWithOne(modules, path) && inLayers(rule, path))
}

function matches(source: string, path: string): boolean {
  return expression(source, `targetModules: the rule is ${show(source)}`).test(path)
}

function endsWithOne(names: readonly string[], path: string): boolean {
  return names.some((name) => path === name || path.endsWith(`.${name}`))
}

function inLayers({ layersToTransform, layersPattern }: TargetRule, path: string): boolean {
  if (layersToTransform === undefined || layersToTransform.length === 0) return true
  const lists = layersPattern === undefined || layersPattern.length === 0 ? ["[^.]*"] : layersPattern
  for (const list of lists) {
    const found = layerExpression(list, "targetModules").exec(path)
    if (found) return layersToTransform.includes(Number(found.groups!.layer))
  }
  return false
}

/** A linear module of a text model. */
export interface LinearModule {
  /** As in the checkpoint, without `.weight`: `model.layers.0.self_attn.q_proj`. */
  readonly path: string
  /** Where it goes in the model: `layers.0.attention.q`. */
  readonly field: string
  /** `[out, in]` */
  readonly shape: readonly [number, number]
}

/** Every linear module that an adapter may sit on, in the order of a forward pass. A tied head is none. */
export function linearModules(config: ModelConfig, prefix = "model."): LinearModule[] {
  return weightTable(config)
    .filter(isLinear)
    .map((spec) => {
      const { field, name, shape } = spec
      const path = name.slice(0, -".weight".length)
      return { path: isHead(spec) ? path : prefix + path, field, shape: [shape[0]!, shape[1]!] }
    })
}

/** Not what a layer in several parts is made of. */
function isLinear({ field, name, shape }: WeightSpec): boolean {
  return (
    shape.length === 2 && field !== "embedding" && field !== "lowerBounds" && !/\.(u|c|v|router)\.weight$/.test(name)
  )
}

/**
 * What stands before the text model's modules. Adapters have the names of the code they were trained with, which are not
 * always those of the file: transformers renames the multimodal ones when it loads.
 */
const PREFIX = /^(?:model\.language_model\.|language_model\.model\.|language_model\.|model\.)/

/** The weight under an adapter's module path, or undefined when the checkpoint has no such linear module. */
export function linearWeight(checkpoint: Checkpoint, path: string): Weight | undefined {
  const name = `${path.replace(PREFIX, "")}.weight`
  for (const weight of checkpoint.weights.values()) {
    if (weight.spec.name === name && isLinear(weight.spec)) return weight
  }
  return undefined
}
