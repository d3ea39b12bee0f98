import { afterEach, expect, test, vi } from "vitest"
import { nodePlatform } from "../../src/platform/node.ts"
import type { OpenOptions, Platform } from "../../src/platform/platform.ts"
import { webPlatform } from "../../src/platform/web.ts"
import { download, expectModel, hub, MODEL, useHub } from "./workspace.ts"

const TOKEN = "hf_secret"
const REFUSAL = "token: has spaces or signs that no token has, expected one as the Hub gives it (hf_...)"

useHub()
afterEach(() => {
  vi.unstubAllGlobals()
})

/** The Hub that a platform asks is the one on this machine. */
function redirect(): void {
  const own = fetch
  vi.stubEnv("HF_ENDPOINT", hub.endpoint)
  vi.stubGlobal("fetch", (url: string | URL | Request, init?: RequestInit) =>
    own(String(url).replace("https://huggingface.co", hub.endpoint), init),
  )
}

/** Opens the gated model and reads of a large file. */
async function read(platform: Platform, options: OpenOptions): Promise<ArrayBuffer> {
  const folder = await platform.openFolder(hub.id, options)
  const source = await folder.open(MODEL)
  return source!.slice(100_000, 100_010)
}

test.each([
  ["browsers", webPlatform, { inEnvironment: false }],
  ["Node", nodePlatform, { inEnvironment: true }],
] as const)("a token opens a gated model in %s, and goes to the Hub alone", async (_, platform, { inEnvironment }) => {
  redirect()
  hub.access = { status: 401, code: "GatedRepo" }
  hub.token = TOKEN
  if (inEnvironment) vi.stubEnv("HF_TOKEN", "hf_another") // what is given goes before it
  await expect(read(platform, { headersOnly: true })).rejects.toMatchObject({ code: "access" })
  hub.log.length = 0
  const bytes = Buffer.from(await read(platform, { headersOnly: true, token: TOKEN }))
  expect(bytes.equals(hub.files.get(MODEL)!.subarray(100_000, 100_010))).toBe(true)
  const shown = new Set(hub.log.map(({ server, token }) => `${server}: ${token}`))
  expect([...shown].sort()).toEqual(["cdn: undefined", `hub: Bearer ${TOKEN}`])
})

test("Node downloads a gated model with the token that is given", async () => {
  hub.access = { status: 403, code: "GatedRepo" }
  hub.token = TOKEN
  await expect(download({ token: "hf_another" })).rejects.toMatchObject({ code: "access" })
  await expectModel(await download({ token: TOKEN }))
})

test.each(["", "hf secret", "hf_sécret", "hf_secret\r\nX-Other: 1"])(
  "a token that no header can carry is refused without being shown: %j",
  async (token) => {
    const opened = Promise.resolve().then(() => webPlatform.openFolder(hub.id, { token }))
    await expect(opened).rejects.toThrow(new RangeError(REFUSAL))
    await expect(download({ token })).rejects.toThrow(RangeError)
    expect(hub.log).toEqual([])
  },
)
