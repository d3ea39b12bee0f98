import { afterEach, beforeEach, expect, test } from "vitest"
import { HubError } from "../../src/hub/errors.ts"
import { hubFolder } from "../../src/hub/hub_folder.ts"
import { FakeHub } from "./fake_hub.ts"

let hub: FakeHub

beforeEach(async () => {
  hub = await new FakeHub().start()
  hub.files.set("config.json", Buffer.from("{}"))
  hub.files.set("model.safetensors", Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251)))
})

afterEach(() => hub[Symbol.asyncDispose]())

test("hubFolder reads ranges of a file through the redirect, the token staying with the Hub", async () => {
  const folder = hubFolder(hub.id, { endpoint: hub.endpoint, token: "secret" })
  expect(folder.name).toBe(hub.id)
  const source = await folder.open("model.safetensors")
  expect(source?.byteLength).toBe(200_000)
  const bytes = Buffer.from(await source!.slice(150_000, 150_010))
  expect(bytes.equals(hub.files.get("model.safetensors")!.subarray(150_000, 150_010))).toBe(true)
  expect(hub.sent("model.safetensors")).toBeLessThan(100_000)
  expect(hub.log.filter(({ server }) => server === "hub").every(({ token }) => token === "Bearer secret")).toBe(true)
  expect(hub.log.filter(({ server }) => server === "cdn").every(({ token }) => token === undefined)).toBe(true)
})

test("hubFolder gives undefined for a file that is not there", async () => {
  const folder = hubFolder(hub.id, { endpoint: hub.endpoint, revision: hub.commit })
  expect(await folder.open("nothing.json")).toBeUndefined()
  expect((await folder.open("config.json"))?.byteLength).toBe(2)
})

test("hubFolder says what to do about a gated model, a missing one, a missing revision and no network", async () => {
  const message = async (options = {}) => {
    const folder = hubFolder(hub.id, { endpoint: hub.endpoint, ...options })
    return folder.open("config.json").then(
      () => expect.unreachable("expected an error"),
      (error: unknown) => {
        expect(error).toBeInstanceOf(HubError)
        return (error as HubError).message
      },
    )
  }
  expect(await message({ revision: "v9" })).toContain("revision is v9")
  hub.access = { status: 401, code: "GatedRepo" }
  expect(await message()).toContain(`accept the licence at ${hub.endpoint}/${hub.id} and set HF_TOKEN`)
  hub.access = { status: 401, code: "RepoNotFound" }
  expect(await message()).toContain("not found")
  hub.goOffline()
  expect(await message()).toContain(new URL(hub.endpoint).host)
})

test("hubFolder throws a RangeError for a bad id, a file outside the folder", async () => {
  expect(() => hubFolder("a/b/c")).toThrow(RangeError)
  await expect(hubFolder(hub.id, { endpoint: hub.endpoint }).open("../x")).rejects.toThrow(RangeError)
})
