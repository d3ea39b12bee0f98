import { evalData } from "../../src/eval/data.ts"
import { nodeEvalSources } from "../../src/platform/node_eval_data.ts"

/** The data that the package comes with. */
export const packageData = evalData(nodeEvalSources())
