import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { DEVICE, expectUsageError, gemlet, json } from "./run.ts"

const STORY = `Once upon a time there was a fox. ${"The fox ran to the big tree and saw a red ball. ".repeat(26)}`

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "gemlet-prefix-"))
})
afterAll(() => rm(directory, { recursive: true }))

const generate = (...args: string[]) => gemlet(["generate", ...DEVICE, STORY, "--greedy", "-n", "8", ...args])

describe("--prefix-cache", () => {
  test("lets a later run go on from the prompt, and says why it could not", async () => {
    const folder = join(directory, "cache")
    const plain = await generate("--stats")
    const first = json(await generate("--json", "--prefix-cache", folder))
    expect(first.promptTokens).toBeGreaterThan(300)
    expect(first.reusedTokens).toBe(0)
    const again = await generate("--stats", "--prefix-cache", folder)
    expect(again.stdout).toBe(plain.stdout)
    expect(again.stderr).toMatch(
      new RegExp(`prompt of ${first.promptTokens} \\(${first.promptTokens - 1} known from before\\) in`),
    )
    const [name] = await readdir(folder)
    const file = join(folder, name!)
    await writeFile(file, (await readFile(file)).subarray(0, -1))
    const damaged = await generate("--prefix-cache", folder)
    expect(damaged.code).toBe(0)
    expect(damaged.stdout).toBe(plain.stdout)
    expect(damaged.stderr).toMatch(/^gemlet: --prefix-cache: .*safetensors: .* expected .*$/m)
  })

  test("refuses what is no folder", async () => {
    const file = join(directory, "file")
    await writeFile(file, "")
    expectUsageError(await generate("--prefix-cache", file), "gemlet generate", "is a file, expected a folder")
    expectUsageError(await generate("--prefix-cache", ""), "gemlet generate", 'prefixCache is "", expected a folder')
  })

  test("is not needed within a conversation", async () => {
    const input = "Tell me a story.\nAnd then?\n"
    const told = json(await gemlet(["chat", ...DEVICE, "--seed", "3", "-n", "40", "--json"], { input }))
    expect(told.promptTokens - told.reusedTokens).toBeLessThan(30) // the new message and what the template puts around it
    expect(told.reusedTokens).toBeGreaterThan(40)
  })
})
