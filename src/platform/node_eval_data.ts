import { existsSync } from "node:fs"
import { join } from "node:path"
import type { Source } from "../model/source.ts"
import { packaged } from "./node.ts"
import { closedSource } from "./node_data.ts"

/** Opens files of texts for evaluation: those of a user's folder before those that come with the package. */
export function nodeEvalSources(directory?: string): (file: string) => Promise<Source | undefined> {
  const folders = [...(directory === undefined ? [] : [directory]), packaged("eval")]
  return async (file) => {
    const path = folders.map((folder) => join(folder, file)).find((each) => existsSync(each))
    return path === undefined ? undefined : closedSource(path)
  }
}
