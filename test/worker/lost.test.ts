import { expect, test } from "vitest"
import { GpuError, load } from "../../src/index.ts"
import { internals } from "../../src/session.ts"
import { WorkerError } from "../../src/worker/wire_errors.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { fixture } from "../helpers/golden.ts"
import { connectForTest, spied } from "./helpers.ts"

const device = testDeviceKind()
const FOLDER = fixture("goldens/tiny-gemma2")

/** Whether a promise has come true by now. */
async function hasCome(promise: Promise<unknown>): Promise<boolean> {
  await new Promise((done) => setTimeout(done, 100))
  return Promise.race([promise.then(() => true), new Promise<false>((done) => setTimeout(done, 0, false))])
}

test("lost tells at once that the device is gone, while nobody asks for anything", async () => {
  const { part, models } = spied()
  const { engine } = connectForTest(part)
  const lm = await engine.load(FOLDER, { device, context: 64 })
  const beside = await engine.load(FOLDER, { beside: lm, context: 64 })
  internals(models[0]!).model.device.gpu.destroy()
  const error = await lm.lost
  expect(error).toBeInstanceOf(GpuError)
  expect(error).toMatchObject({ kind: "lost", message: expect.stringContaining("device lost") })
  expect(await beside.lost).toMatchObject({ kind: "lost" })
  await expect(lm.score([2, 3])).rejects.toMatchObject({ kind: "lost" })
  await beside.dispose()
  await lm.dispose()
  await using again = await engine.load(FOLDER, { device, context: 64 }) // the engine itself goes on
  expect((await again.score([2, 3])).tokens).toEqual([2, 3])
})

test("lost tells of an engine that has died, and neither of one that is terminated nor of a model that is disposed", async () => {
  const { engine, port } = connectForTest()
  const lm = await engine.load(FOLDER, { device, context: 64 })
  const disposed = await engine.load(FOLDER, { device, context: 64 })
  await disposed.dispose()
  port.close()
  expect(await lm.lost).toBeInstanceOf(WorkerError)
  expect(await hasCome(disposed.lost)).toBe(false)

  const { engine: other } = connectForTest()
  const ended = await other.load(FOLDER, { device, context: 64 })
  other.terminate()
  expect(await hasCome(ended.lost)).toBe(false)
})

test("lost stays open for a model of the session that is disposed", async () => {
  const lm = await load(FOLDER, { device, context: 64 })
  await lm.dispose()
  expect(await hasCome(lm.lost)).toBe(false)
})
