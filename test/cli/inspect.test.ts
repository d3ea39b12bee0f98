import { describe, expect, test } from "vitest"
import { fixture } from "../helpers/golden.ts"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json } from "./run.ts"

const FOLDERS = [
  "tiny-gemma1",
  "tiny-gemma2",
  "tiny-gemma3",
  "tiny-gemma3-bf16",
  "tiny-gemma3-f16",
  "tiny-gemma3-mm",
  "tiny-gemma3-rope8-sharded",
].map((name) => fixture(`goldens/${name}`))

describe("inspect", () => {
  test("inspect describes the model that comes with gemlet", async () => {
    const { code, stdout, stderr } = await gemlet(["inspect"])
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toContain("storyteller: gemma3_text, 3,741,120 parameters, 7.1 MiB in BF16")
    expect(stdout).toContain("6: 5 local (window 128), 1 global")
    expect(stdout).toMatch(/^ {4}2,048 {5}1\.6 MiB {12}6\.0 MiB {2}27\.1 %$/m)
  })

  test("inspect --json prints one documented object for every checkpoint", async () => {
    await Promise.all(
      [...FOLDERS, fixture("stories260K")].map(async (folder) => {
        const report = json(await gemlet(["inspect", "--model", folder, "--tensors", "--json"]))
        expectDocumented("inspect", report, ["config", "weights.byDtype", "sampling"])
        expect(report.model).toBe(folder)
        const { total, ...parts } = report.parameters
        expect(Object.values<number>(parts).reduce((sum, part) => sum + part, 0)).toBe(total)
        const used = report.tensors.filter((tensor: { used: boolean }) => tensor.used)
        expect(used.length).toBe(report.weights.tensors)
        expect(report.tensors.length).toBe(report.weights.tensors + report.ignored.tensors)
        expect(report.kvCache.at(-1).context).toBe(report.config.maxPositions)
      }),
    )
  })

  test("inspect tells what of an image model is not used", async () => {
    const { stdout } = await gemlet(["inspect", "--model", fixture("goldens/tiny-gemma3-mm")])
    expect(stdout).toMatch(/not used +12\.1 KiB +23 tensors beside the text model/)
  })

  test("inspect foretells the bytes that a load takes", async () => {
    const size = ["--context", "700", "--chunk", "32"]
    const { load } = json(await gemlet(["inspect", ...size, "--json"]))
    const { memory } = json(await gemlet(["generate", ...DEVICE, ...size, "--ids", "2,513", "-n", "1", "--json"]))
    expect(load).toMatchObject({ context: 700, chunk: 32, weights: memory.weights, cache: memory.cache })
    const small = await gemlet(["inspect", ...size, "--dtype", "q4", "--cache-dtype", "q8", "--json"])
    expect(json(small).load).toMatchObject({ weights: 2_345_856, cache: Math.round((load.cache * 68) / 256) })
    const { stdout } = await gemlet(["inspect", "--cache-dtype", "q8"])
    expect(stdout).toMatch(/^Key and value cache \(q8, .*\n.*\n {4}1,024 +306\.0 KiB +816\.0 KiB/m)
  })

  test("inspect refuses a folder without weights and a context beyond the model's", async () => {
    const bare = await gemlet(["inspect", "--model", fixture("goldens/random-270m")])
    expectUsageError(bare, "gemlet inspect", "model.safetensors is missing")
    const large = await gemlet(["inspect", "--context", "9999"])
    expectUsageError(
      large,
      "gemlet inspect",
      "context is 9999, expected a whole number from 2 to 2048, the model's limit",
    )
    const keys = await gemlet(["inspect", "--model", fixture("goldens/tiny-hgrnbit"), "--cache-dtype", "q8"])
    expectUsageError(keys, "gemlet inspect", "--cache-dtype: value is q8, expected f32 for a recurrent model")
  })
})
