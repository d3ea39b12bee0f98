import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { expect, test } from "vitest"
import { modelStore } from "../../src/platform/web_models.ts"
import type { WorkerModelStore } from "../../src/worker/worker_model_store.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { fixture } from "../helpers/golden.ts"
import { browser, hub, NAMES, PIECE, SIZE, store, useBrowser } from "../hub/browser.ts"
import { errorOf, expectHubError, MODEL } from "../hub/workspace.ts"
import { connectForTest } from "./helpers.ts"

const GOLDEN = fixture("goldens/tiny-gemma3")
const GOLDEN_FILES = ["config.json", "model.safetensors"]

useBrowser()

/** A page's end of the store that `store()` has beside it. */
function remoteStore(engine = connectForTest({ modelStore }).engine): WorkerModelStore {
  const patience = { attempts: 4, pause: 5, longestPause: 50, stall: 1000 }
  return engine.modelStore({ endpoint: hub.endpoint, pieceBytes: PIECE, patience })
}

async function goldenFiles(): Promise<File[]> {
  const read = async (name: string) => {
    const file = new File([await readFile(join(GOLDEN, name))], name)
    return Object.defineProperty(file, "webkitRelativePath", { value: `golden/${name}` })
  }
  return Promise.all(GOLDEN_FILES.map(read))
}

test("download brings a model over a connection that breaks, and tells how far it is", async () => {
  hub.fail(MODEL, { drop: 1_500_000 })
  const seen: number[] = []
  const models = remoteStore()
  const model = await models.download(hub.id, { onProgress: ({ loaded }) => seen.push(loaded) })
  expect(model).toMatchObject({ id: hub.id, commit: hub.commit, complete: true, loaded: SIZE + 44 })
  expect(seen.at(-1)).toBe(SIZE + 44)
  expect(seen.length).toBeGreaterThan(2)
  expect(await models.list()).toEqual(await store().list())
  expect((await models.list()).map(({ files }) => files.map(({ path }) => path))).toEqual([NAMES])
})

test("download stops with the signal's own reason, and goes on from there", async () => {
  hub.fail(MODEL, { stall: 1_200_000 })
  const stop = new AbortController()
  const reason = new Error("enough")
  const models = remoteStore()
  const onProgress = ({ loaded }: { readonly loaded: number }) => loaded > 1_000_000 && stop.abort(reason)
  expect(await errorOf(models.download(hub.id, { signal: stop.signal, onProgress }))).toBe(reason)
  const [part] = await models.list()
  expect(part).toMatchObject({ id: hub.id, complete: false, bytes: SIZE + 44 })
  expect(part!.loaded).toBeGreaterThan(1_000_000)
  hub.log.length = 0
  expect(await models.download(hub.id)).toMatchObject({ complete: true })
  expect(hub.sent(MODEL)).toBe(SIZE + 44 - part!.loaded)
})

test("errors keep their class and code", async () => {
  hub.fail(MODEL, { corrupt: 5 }, { corrupt: 5 })
  const models = remoteStore()
  await expectHubError(models.download(hub.id), "corrupt", MODEL)
  await expectHubError(models.open(hub.id), "missing", hub.id)
  await expect(models.download("no id")).rejects.toThrow(RangeError)
  await expect(connectForTest().engine.modelStore().list()).rejects.toThrow(/modelStore is missing/)
})

test("the second of two downloads is told that it waits", async () => {
  const { engine } = connectForTest({ modelStore })
  let waited = 0
  const both = [1, 2].map(() => remoteStore(engine).download(hub.id, { onWait: () => void waited++ }))
  await Promise.all(both)
  expect(waited).toBe(1)
  expect(hub.sent(MODEL)).toBe(SIZE)
})

test("import, estimate, persist and remove do what they do without a worker", async () => {
  const models = remoteStore()
  expect(await models.import(await goldenFiles(), { id: "me/mine" })).toMatchObject({ id: "me/mine", complete: true })
  expect(await models.persist()).toBe(true)
  expect(await models.estimate()).toEqual(await store().estimate())
  expect((await models.estimate()).models).toBeGreaterThan(1_500_000)
  await models.remove("me/mine")
  expect(await models.list()).toEqual([])
  expect(browser.root.paths()).toEqual([])
})

test("load takes what open gives: the model by its id, with the logits of its folder", async () => {
  const { engine } = connectForTest({ modelStore })
  const models = remoteStore(engine)
  await models.import(await goldenFiles(), { id: "me/mine" })
  const device = testDeviceKind()
  await using lm = await engine.load(await models.open("me/mine"), { device, context: 16 })
  await using same = await engine.load(GOLDEN, { beside: lm, context: 16 })
  expect(lm.name).toBe("me/mine")
  expect(await lm.logits([2, 3, 4])).toEqual(await same.logits([2, 3, 4]))
})
