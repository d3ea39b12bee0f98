import { readFile } from "node:fs/promises"
import { expect, test } from "vitest"

/** All modules that one needs when it runs, itself included, and the packages that they name. */
async function reach(start: string) {
  const modules = new Set<string>()
  const packages = new Set<string>()
  const visit = async (url: URL): Promise<void> => {
    if (modules.has(url.href)) return
    modules.add(url.href)
    const text = await readFile(url, "utf8")
    const imports = text.matchAll(/^(?:import|export)\s+(?!type\b)(?:[^"';]*?\bfrom\s+)?"([^"]+)"/gm)
    for (const [, from] of imports) {
      if (from!.startsWith(".")) await visit(new URL(from!, url))
      else packages.add(from!)
    }
  }
  await visit(new URL(`../../src/${start}`, import.meta.url))
  return { modules: [...modules], packages: [...packages] }
}

test("the page's side of the worker loads no kernels, no model and no package", async () => {
  const { modules, packages } = await reach("worker/index.ts")
  const others = modules.filter((url) => !url.includes("/src/worker/")).map((url) => url.replace(/.*\/src\//, ""))
  const leaves = [
    "hub/errors.ts",
    "kernels/errors.ts",
    "model/keys.ts",
    "model/source.ts",
    "model/store.ts",
    "model/url_source.ts",
    "train/fingerprint.ts",
    "train/records.ts",
  ]
  expect(others.sort()).toEqual(leaves)
  expect(packages).toEqual([])
})

test("the worker's script is the browser's entry, and reaches no module of Node", async () => {
  const { modules, packages } = await reach("worker/script.ts")
  expect(modules.length).toBeGreaterThan(100)
  expect(modules.some((url) => url.endsWith("/src/browser.ts"))).toBe(true)
  expect(packages.filter((name) => /^node:|^webgpu$/.test(name))).toEqual([])
})
