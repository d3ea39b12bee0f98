import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect } from "vitest"
import { STORIES } from "../helpers/stories.ts"
import { writeFolder } from "../helpers/teachers.ts"
import { randomWeights, TINY_GEMMA } from "../helpers/training.ts"
import { DEVICE, gemlet, type Result, type Running, start } from "./run.ts"

/** A model whose steps take milliseconds, with storyteller's tokenizer. */
export const CONFIG = { ...TINY_GEMMA, max_position_embeddings: 128 }

/** Everything that a test of training needs, in a folder of its own. */
export class Workplace {
  readonly home = mkdtempSync(join(tmpdir(), "gemlet-train-"))
  readonly model = this.path("base")
  readonly data = this.path("stories.jsonl")
  readonly config = this.path("config.json")

  static async make(): Promise<Workplace> {
    const place = new Workplace()
    await writeFolder(await randomWeights(CONFIG), place.model)
    place.write("stories.jsonl", STORIES.map((record) => `${JSON.stringify(record)}\n`).join(""))
    place.write("config.json", JSON.stringify(CONFIG))
    return place
  }

  path(name: string): string {
    return join(this.home, name)
  }

  write(name: string, text: string): string {
    writeFileSync(this.path(name), text)
    return this.path(name)
  }

  read(...names: string[]): Buffer {
    return readFileSync(join(this.home, ...names))
  }

  remove(): void {
    rmSync(this.home, { recursive: true, force: true })
  }

  /** The arguments of a short run into a folder of this name. */
  tuneArgs(out: string, ...more: string[]): string[] {
    const short = ["--batch", "2", "--context", "24", "--lr", "0.01", "--held-out", "2", "--rank", "4"]
    return ["tune", "--model", this.model, "--data", this.data, "--out", this.path(out), ...short, ...DEVICE, ...more]
  }

  tune(out: string, ...more: string[]): Promise<Result> {
    return gemlet(this.tuneArgs(out, ...more))
  }

  start(out: string, ...more: string[]): Running {
    return start(this.tuneArgs(out, ...more))
  }
}

/** The objects of a run that prints one a line. */
export function jsonLines({ code, stdout, stderr }: Result): ReturnType<typeof JSON.parse>[] {
  expect(code, stderr).toBe(0)
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line))
}

/** Fails unless a command went well; gives what it printed. */
export function expectSuccess({ code, stdout, stderr }: Result): string {
  expect(code, stderr).toBe(0)
  return stdout
}
