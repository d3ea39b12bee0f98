import type { Folder } from "../../src/model/source.ts"
import { fixtureJson } from "../model/fixture_folders.ts"
import { randomFolder } from "./random_folder.ts"

/** Gemma 3 1B's shape with random weights (2 GB in bf16). */
export function random1b(): Promise<Folder> {
  return randomFolder("Gemma 3 1B's shape", fixtureJson("gemma-configs/gemma-3-1b-it.config.json"))
}
