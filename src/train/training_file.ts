import { isObject } from "../model/keys.ts"
import { readFloat32, readHeader, type SafetensorsEntry, writeSafetensors } from "../model/safetensors.ts"
import type { Folder } from "../model/source.ts"
import { parseJson } from "../model/source.ts"
import type { Store } from "../model/store.ts"

/** What a run goes on from lies in this file; adapter and model files beside it are for whoever uses them. */
export const TRAINING_FILE = "training.safetensors"
const KEY = "gemlet_training"
const VERSION = 1

/** A point of the loss curve: the loss of the step, of the held-out rows after it, or both. */
export interface CurvePoint {
  readonly step: number
  readonly loss?: number | undefined
  readonly heldOut?: number | undefined
}

/** What a run is, and how far it has come. All of it is JSON. */
export interface TrainingState {
  /** What must be the same for the run to go on as it would have. */
  readonly settings: Readonly<Record<string, unknown>>
  /** The adapter's PEFT config, if there is one. */
  readonly adapter: unknown
  readonly step: number
  /** Where the data are. */
  readonly batches: unknown
  readonly curve: readonly CurvePoint[]
  /** What the caller wants to find again, such as the flags of a command. */
  readonly note: unknown
}

export interface TrainingFile {
  readonly state: TrainingState
  /** Values of a tensor, undefined where there is none. */
  read(name: string): Promise<Float32Array | undefined>
}

export async function writeTrainingFile(
  store: Store,
  state: TrainingState,
  entries: readonly SafetensorsEntry[],
): Promise<void> {
  const metadata = { [KEY]: JSON.stringify({ version: VERSION, ...state }) }
  await store.write(TRAINING_FILE, writeSafetensors(entries, metadata))
}

/**
 * Opens the file that a run goes on from.
 *
 * @throws {RangeError} when there is none, SyntaxError when it is no such file
 */
export async function readTrainingFile(folder: Folder): Promise<TrainingFile> {
  const source = await folder.open(TRAINING_FILE)
  if (!source) throw new RangeError(`${folder.name}: ${TRAINING_FILE} is missing, expected it to resume a run`)
  const { tensors, metadata } = await readHeader(source, TRAINING_FILE)
  const json = metadata.get(KEY)
  const state = json === undefined ? undefined : parseJson(json, TRAINING_FILE)
  if (!isObject(state) || state.version !== VERSION) {
    const is = isObject(state) ? `version ${state.version}` : "missing"
    throw new SyntaxError(`${TRAINING_FILE}: ${KEY} is ${is}, expected version ${VERSION}`)
  }
  return {
    state: state as unknown as TrainingState,
    async read(name) {
      const info = tensors.get(name)
      return info && (await readFloat32(source, info))
    },
  }
}

/**
 * Refuses to go on with other settings.
 *
 * @throws {RangeError} naming the first that differs
 */
export function expectSameSettings(now: TrainingState["settings"], before: TrainingState["settings"]): void {
  for (const key of new Set([...Object.keys(before), ...Object.keys(now)])) {
    const [is, was] = [JSON.stringify(now[key]), JSON.stringify(before[key])]
    if (is !== was) throw new RangeError(`resume: ${key} is ${is}, expected ${was} as before`)
  }
}
