import { readFile } from "node:fs/promises"
import { gunzipSync } from "node:zlib"

/**
 * The texts of a file with a JSON object a line, gzipped or not.
 *
 * @throws {RangeError} for fewer than `least`
 */
export async function readTexts(path: string, least: number): Promise<string[]> {
  const bytes = await readFile(path)
  const text = (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8")
  const texts = text.split("\n").flatMap((line) => (line.trim() === "" ? [] : [JSON.parse(line).text as string]))
  if (texts.length >= least) return texts
  throw new RangeError(`${path}: has ${texts.length} texts, expected at least ${least}`)
}
