import { spawn } from "node:child_process"
import { mkdtemp, readdir, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { nodeEvalFolder } from "../../src/platform/node_eval_folder.ts"

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "gemlet-eval-"))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

/** Another process that holds a file of the folder, until it is killed. */
async function holder() {
  const module = pathToFileURL(new URL("../../dist/src/platform/node_eval_folder.js", import.meta.url).pathname).href
  const script = `import { nodeEvalFolder } from ${JSON.stringify(module)}
    await nodeEvalFolder(${JSON.stringify(directory)}).hold("results.jsonl")
    process.stdout.write("held")
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] })
  await new Promise((resolve) => child.stdout.once("data", resolve))
  return async () => {
    const ended = new Promise((resolve) => child.once("exit", resolve))
    child.kill("SIGKILL")
    await ended
  }
}

describe("a folder of results on disk", () => {
  test("is empty before anything is written, and makes itself", async () => {
    const folder = nodeEvalFolder(join(directory, "a", "b"))
    expect(await folder.list()).toEqual([])
    expect(await folder.read("results.jsonl")).toBeUndefined()
    await folder.append("results.jsonl", "1\n")
    await folder.append("results.jsonl", "2\n")
    await folder.write("run.json", "{}")
    expect(await folder.read("results.jsonl")).toBe("1\n2\n")
    expect([...(await folder.list())].sort()).toEqual(["results.jsonl", "run.json"])
  })

  test("is one process's to write, until it lets go", async () => {
    const folder = nodeEvalFolder(directory)
    const release = await folder.hold("results.jsonl")
    await expect(folder.hold("results.jsonl")).rejects.toThrow(/results\.jsonl is being written by another process/)
    await (await folder.hold("results-1-of-2.jsonl"))()
    await release()
    await (await folder.hold("results.jsonl"))()
    expect(await readdir(directory)).toEqual([])
  })

  test("is not held by a process that was killed", async () => {
    const folder = nodeEvalFolder(directory)
    const kill = await holder()
    await expect(folder.hold("results.jsonl")).rejects.toThrow(/being written by another process/)
    await kill()
    await (await folder.hold("results.jsonl"))()
  })
})
