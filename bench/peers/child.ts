// A peer's process: node --import tsx bench/peers/child.ts MODULE DTYPE DEVICE. It is asked over the channel of `fork`.
import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { installSwiftShader } from "../../src/platform/swiftshader.ts"
import type { Generation, LoadedPeer, Loading, PeerModule, Reply, Request } from "./peer.ts"

const [name, dtype, device] = process.argv.slice(2) as [string, string, string]

/** Before anything looks for adapters: some peers take the first that Vulkan names. */
async function chooseDriver(): Promise<void> {
  if (device === "swiftshader") return installSwiftShader()
  if (device !== "lavapipe") return
  const folder = "/usr/share/vulkan/icd.d"
  const file = (await readdir(folder)).find((file) => file.startsWith("lvp_icd"))
  if (!file) throw new TypeError(`${folder}: lvp_icd*.json is missing, expected lavapipe's driver`)
  process.env.VK_ICD_FILENAMES = process.env.VK_DRIVER_FILES = join(folder, file)
}

await chooseDriver()
const { peer } = (await import(`./${name}.ts`)) as PeerModule
const runtime = peer(dtype, device)
let loaded: LoadedPeer | undefined

async function answer(request: Request): Promise<unknown> {
  if (request.do === "prepare") return runtime.prepare()
  if (request.do === "load") return load()
  return generate(request.ids, request.tokens)
}

async function load(): Promise<Loading> {
  const began = performance.now()
  loaded = await runtime.load()
  return { ms: performance.now() - began, device: loaded.device }
}

async function generate(ids: readonly number[], tokens: number): Promise<Generation> {
  if (!loaded) throw new TypeError("generate: no model is loaded, expected load before")
  const given: number[] = []
  let first = 0
  let last = 0
  const began = performance.now()
  await loaded.generate(ids, tokens, (id) => {
    last = performance.now()
    if (given.length === 0) first = last
    given.push(id)
  })
  if (given.length !== tokens) throw new RangeError(`generate: tokens are ${given.length}, expected ${tokens}`)
  return { ids: given, firstMs: first - began, msPerToken: (last - first) / (tokens - 1) }
}

process.on("message", async (request: Request) => {
  let reply: Reply
  try {
    reply = { result: await answer(request) }
  } catch (error) {
    reply = { error: error instanceof Error ? error.message : String(error) }
  }
  process.send!(reply)
})
process.on("disconnect", () => process.exit())
process.send!({ result: "ready" } satisfies Reply)
