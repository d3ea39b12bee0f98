import { createApi } from "./load.ts"
import { nodePlatform } from "./platform/node.ts"

export * from "./api.ts"
export { packaged } from "./platform/node.ts"
export { dataFiles } from "./platform/node_data.ts"
export { nodeEvalSources as evalSources } from "./platform/node_eval_data.ts"
export { nodeEvalFolder as evalFolder } from "./platform/node_eval_folder.ts"
export { directoryStore } from "./platform/node_files.ts"

/**
 * Loads a model: a checkpoint folder as Hugging Face publishes it, a URL of one, a Hub id, or without a location the
 * small storyteller that comes with the package.
 */
export const { load, open, merge, pack, quantize } = createApi(nodePlatform)
