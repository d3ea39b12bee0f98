import type { ModelConfig, TransformerConfig } from "../../src/index.ts"

/** A config of a model with attention. */
export function transformer(config: ModelConfig): TransformerConfig {
  if (config.modelType === "hgrn_bit") throw new TypeError(`config is of ${config.modelType}, expected a transformer`)
  return config
}
