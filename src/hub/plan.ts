import type { HubClient, RemoteFile } from "./client.ts"
import { HubError } from "./errors.ts"
import { chooseFiles, INDEX, shardNames } from "./files.ts"

/**
 * The files of a commit that a model needs, its shards among them.
 *
 * @param file      the GGUF that is asked for
 * @param readIndex brings the index of a sharded model, and gives its text
 * @throws HubError for a repository without what is needed, SyntaxError for an index that is none
 */
export async function planFiles(
  client: HubClient,
  commit: string,
  file: string | undefined,
  readIndex: (index: RemoteFile) => Promise<string>,
): Promise<RemoteFile[]> {
  const listed = await client.list(commit)
  const files = chooseFiles(client.id, [...listed.keys()], file).map((name) => listed.get(name)!)
  const index = files.find(({ path }) => path === INDEX)
  if (!index) return files
  for (const name of shardNames(await readIndex(index))) {
    const shard = listed.get(name)
    if (!shard) throw new HubError("unsupported", `${client.id}: ${name} is missing, expected by ${INDEX}`)
    files.push(shard)
  }
  return files
}
