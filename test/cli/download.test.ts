import { mkdtemp, readdir, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { FakeHub } from "../hub/fake_hub.ts"
import { expectUsageError, gemlet, start } from "./run.ts"

const STORYTELLER = new URL("../../weights/storyteller/", import.meta.url)

let hub: FakeHub
let folder: string
let env: Record<string, string>
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "gemlet-cli-hub-"))
  hub = await new FakeHub().start()
  for (const name of await readdir(STORYTELLER)) hub.files.set(name, await readFile(new URL(name, STORYTELLER)))
  env = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: folder, HF_HOME: folder, HF_TOKEN: "", HF_HUB_OFFLINE: "" }
})
afterEach(async () => {
  await hub[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

describe("--model owner/name", () => {
  test("--model owner/name says how far the download is, and at Ctrl-C that it goes on", async () => {
    hub.fail("model.safetensors", { slow: 20 })
    const generate = ["generate", "--model", hub.id, "--max-tokens", "2", "Once"]
    const stopped = start(generate, env)
    await stopped.until(() => hub.sent("model.safetensors") > 200_000)
    stopped.interrupt()
    const { code, stdout, stderr } = await stopped.result
    expect({ code, stdout }).toEqual({ code: 130, stdout: "" })
    expect(stderr).toMatch(/^gemlet: +\d+ % {2}[\d.]+ .?i?B of 7\.3 MiB {2}.*model\.safetensors$/m)
    expect(stderr).toContain("gemlet: download stopped; the next run goes on from there\n")
    const before = hub.sent("model.safetensors")
    const again = await gemlet(generate, { env })
    expect(again.code, again.stderr).toBe(0)
    const size = hub.files.get("model.safetensors")!.length
    expect(hub.sent("model.safetensors") - before).toBeLessThan(size)
  })

  test("inspect --model owner/name reads headers only", async () => {
    const { code, stdout, stderr } = await gemlet(["inspect", "--model", hub.id], { env })
    expect(code, stderr).toBe(0)
    expect(stdout).toContain(`${hub.id}: gemma3_text, 3,741,120 parameters`)
    expect(hub.sent("model.safetensors")).toBeLessThan(200_000)
    expect(await readdir(folder)).toEqual([])
  })

  test("--model owner/name says what to do about a gated or missing model", async () => {
    hub.access = { status: 403, code: "GatedRepo" }
    expectUsageError(await gemlet(["generate", "--model", hub.id, "x"], { env }), "gemlet generate", "set HF_TOKEN")
    hub.access = undefined
    const missing = await gemlet(["generate", "--model", "google/no-such", "x"], { env })
    expectUsageError(missing, "gemlet generate", "google/no-such: not found")
  })
})
