import type { HubClient } from "../hub/client.ts"
import { HubError } from "../hub/errors.ts"
import { isCommit } from "../hub/model_id.ts"
import { planFiles } from "../hub/plan.ts"
import { type DownloadProgress, ProgressMeter } from "../hub/progress.ts"
import type { Origin } from "../hub/transfer.ts"
import type { Manifest, ModelFolder } from "./web_model_folder.ts"
import { expectSpace } from "./web_stored_model.ts"

/** Where a model goes. */
export interface Place {
  readonly id: string
  readonly pieceBytes: number
  /** Its folder, if there is one. */
  find(): Promise<ModelFolder | undefined>
  /** Its folder, made if there is none. */
  make(): Promise<ModelFolder>
}

export interface Wanted {
  /** The GGUF file that is asked for. */
  readonly file: string | undefined
  readonly onProgress: ((progress: DownloadProgress) => void) | undefined
}

/** Brings what is missing of a model, and once more if its repository changes meanwhile. */
export async function downloadInto(place: Place, client: HubClient, wanted: Wanted): Promise<ModelFolder> {
  for (let again = false; ; again = true) {
    try {
      return await update(place, client, wanted)
    } catch (error) {
      if (again || !(error instanceof HubError) || error.code !== "changed") throw error
    }
  }
}

/** Makes a manifest's files the model. What was it before stays until they are all here. */
export async function bring(
  place: Place,
  manifest: Manifest,
  origin: Origin,
  progress: ProgressMeter,
): Promise<ModelFolder> {
  await expectSpace(place.id, await place.find(), manifest.files)
  const folder = await place.make()
  await folder.begin(manifest)
  for (const file of manifest.files) await folder.fetch(origin, file, progress, place.pieceBytes)
  await folder.finish(manifest)
  return folder
}

/** Asks what the revision is now, and brings it unless it is here. */
async function update(place: Place, client: HubClient, { file, onProgress }: Wanted): Promise<ModelFolder> {
  const { id } = place
  const { revision } = client
  const here = await place.find()
  const known = await here?.current()
  if (here && known?.commit === revision && isCommit(revision)) return here
  let commit: string
  try {
    ;({ commit } = await client.resolve(known !== undefined))
  } catch (error) {
    client.signal?.throwIfAborted()
    if (!here || known?.revision !== revision) throw error
    return here // offline, or no longer allowed: the files are here
  }
  if (here && known?.commit === commit) return here
  const origin = client.at(commit)
  const files = await planFiles(client, commit, file, async (index) => {
    const folder = await place.make()
    await folder.begin({ id, revision, commit, files: [index] })
    await folder.fetch(origin, index, new ProgressMeter(index.size), place.pieceBytes)
    return (await folder.content(index)).text()
  })
  const total = files.reduce((sum, { size }) => sum + size, 0)
  return bring(place, { id, revision, commit, files }, origin, new ProgressMeter(total, onProgress))
}
