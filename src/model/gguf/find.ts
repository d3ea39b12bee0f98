import type { Folder } from "../source.ts"

/** Weights as safetensors: where one of them lies, a GGUF is read only if it was asked for. */
const SAFETENSORS = ["model.safetensors", "model.safetensors.index.json"]

export function isGguf(name: string): boolean {
  return /\.gguf$/i.test(name)
}

/**
 * The GGUF file that a folder is to be read from: the one that was asked for, or in a folder without safetensors the only one.
 * Image projectors (`mmproj`) do not count.
 *
 * @throws RangeError where there are several
 */
export async function findGguf(folder: Folder): Promise<string | undefined> {
  if (folder.file !== undefined) return folder.file
  const names = (await folder.list?.()) ?? []
  if (names.some((name) => SAFETENSORS.includes(name))) return undefined
  return onlyGguf(folder.name, names)
}

/** The only GGUF file among names, or undefined. */
export function onlyGguf(folder: string, names: readonly string[]): string | undefined {
  const files = names.filter((name) => isGguf(name) && !/^mmproj|[-._]mmproj[-._]/i.test(name)).sort()
  if (files.length <= 1) return files[0]
  const named = files.length > 12 ? `${files.slice(0, 12).join(", ")} and ${files.length - 12} more` : files.join(", ")
  throw new RangeError(`${folder}: GGUF files are ${named}, expected one; choose it as ${folder}/NAME.gguf`)
}
