import { execFileSync } from "node:child_process"
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { testDeviceKind } from "./helpers/device.ts"

const root = fileURLToPath(new URL("../", import.meta.url))

describe("the packed package, installed elsewhere", () => {
  let home = ""
  let installed = ""

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), "gemlet-package-"))
    installed = join(home, "node_modules", "gemlet")
    await mkdir(installed, { recursive: true })
    // The suite has built dist/ already; packing must not build again under running tests.
    const packed = JSON.parse(
      execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", home], {
        cwd: root,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      }),
    )
    execFileSync("tar", ["xzf", join(home, packed[0].filename), "-C", installed, "--strip-components=1"])
    // What npm would install beside it, from the packed package.json: nothing that is only a dev dependency.
    const { dependencies, optionalDependencies } = JSON.parse(await readFile(join(installed, "package.json"), "utf8"))
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const at = join(home, "node_modules", name)
      await mkdir(dirname(at), { recursive: true })
      await symlink(join(root, "node_modules", name), at)
    }
    await writeFile(join(home, "package.json"), JSON.stringify({ type: "module" }))
  })
  afterAll(() => rm(home, { recursive: true, force: true }))

  const node = (...args: string[]) =>
    execFileSync(process.execPath, args, { cwd: home, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })

  test("tells a story from its API", async () => {
    const program = `
      import { load } from "gemlet"
      const lm = await load(undefined, { device: ${JSON.stringify(testDeviceKind())} })
      for await (const { text } of lm.generate("Once upon a time", { seed: 1, maxTokens: 12 })) process.stdout.write(text)
      await lm.dispose()
      process.stdout.write(" " + lm.memory.total)`
    await writeFile(join(home, "story.js"), program)
    expect(node("story.js")).toMatch(/there was .* 0$/)
  })

  test("tells a story from its command", () => {
    const args = ["Once upon a time", "--seed", "1", "--max-tokens", "12", "--device", testDeviceKind()]
    expect(node(join(installed, "dist/cli/main.js"), "generate", ...args)).toContain("there was")
  })

  test.each(["NodeNext", "Bundler"])("has types under moduleResolution %s", async (resolution) => {
    await writeFile(
      join(home, "typed.ts"),
      `import { load, GpuError, type LanguageModel, type Timings } from "gemlet"
       const lm: LanguageModel = await load("folder", { context: 64, device: "software" })
       const { data, shape } = await lm.logits([2, 3])
       const answer = lm.generate([{ role: "user", content: "Hi" }], { temperature: 0.5 })
       for await (const { text, tokens } of answer) console.log(text.length + tokens.length)
       const timings: Timings = answer.timings
       // @ts-expect-error: no such option
       lm.generate("x", { temprature: 1 })
       export { data, shape, timings, GpuError }`,
    )
    const module = resolution === "NodeNext" ? "NodeNext" : "ESNext"
    const flags = [
      "--noEmit",
      "--strict",
      "--target",
      "ES2023",
      "--lib",
      "ES2023,DOM,DOM.AsyncIterable,ESNext.Disposable",
    ]
    const tsc = join(root, "node_modules/typescript/bin/tsc")
    const run = () => node(tsc, ...flags, "--module", module, "--moduleResolution", resolution, "typed.ts")
    expect(run()).toBe("")
  })

  test("has a browser entry that reaches no module of Node", async () => {
    const seen = new Set<string>()
    const visit = async (file: string): Promise<void> => {
      if (seen.has(file)) return
      seen.add(file)
      const text = await readFile(file, "utf8")
      for (const [, from] of text.matchAll(/(?:from|import\()\s*"([^"]+)"/g)) {
        expect(from, file).not.toMatch(/^node:|^webgpu$/)
        if (from!.startsWith(".")) await visit(join(dirname(file), from!))
      }
    }
    await visit(join(installed, "dist/src/browser.js"))
    expect(seen.size).toBeGreaterThan(30)
  })

  test("holds what it needs and nothing else", () => {
    const files = execFileSync("find", [installed, "-type", "f"], { encoding: "utf8" })
    for (const wanted of ["LICENSE", "README.md", "wgsl/attend.wgsl", "weights/storyteller/model.safetensors"]) {
      expect(files).toContain(`gemlet/${wanted}`)
    }
    expect(files).not.toMatch(/gemlet\/(test|bench|node_modules|docs|scripts|src)\//)
  })
})
