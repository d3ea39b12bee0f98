import type { Source } from "../model/source.ts"
import { packaged } from "./node.ts"
import { pathFolder } from "./node_files.ts"

/** Opens files of texts for evaluation: those of a user's folder before those that come with the package. */
export function nodeEvalSources(directory?: string): (file: string) => Promise<Source | undefined> {
  const folders = [...(directory === undefined ? [] : [directory]), packaged("eval")].map(pathFolder)
  return async (file) => {
    for (const folder of folders) {
      const source = await folder.open(file)
      if (source) return source
    }
    return undefined
  }
}
