import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { evaluate, modelIdentity, type ResultLine, respond } from "../../src/eval/index.ts"
import { type LanguageModel, load } from "../../src/index.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { make, taskOf } from "./make.ts"
import { packageData } from "./package_data.ts"

const device = testDeviceKind()
const LENGTH = 600 // some windows of 128, and no multiple of a chunk
const CONTEXT = 1024

let lm: LanguageModel
beforeAll(async () => {
  lm = await load(undefined, { device, context: CONTEXT })
})
afterAll(() => lm.dispose())

async function run(model: LanguageModel, name: string, request: object): Promise<ResultLine[]> {
  const lines: ResultLine[] = []
  const options = { data: packageData, of: await modelIdentity(model) }
  for await (const { line } of evaluate(model, [{ task: taskOf(name), request }], options)) lines.push(line)
  return lines
}

describe("with a real model", () => {
  test("losses by position are score's, in one piece or in chunks", async () => {
    const [{ instance }] = (await make(taskOf("position_loss"), { lengths: [LENGTH], samples: 1 })) as [
      Awaited<ReturnType<typeof make>>[number],
    ]
    if (instance.kind !== "loss") throw new Error("expected losses")
    const { response } = await respond(lm, instance)
    if (response.kind !== "loss") throw new Error("expected losses")
    const { logProbs } = await lm.score(instance.ids)
    expect([...response.losses]).toEqual([...logProbs].map((each) => -each))
    for (const chunk of [64, LENGTH]) {
      await using other = await load(undefined, { device, context: CONTEXT, chunk })
      const again = await respond(other, instance)
      if (again.response.kind !== "loss") throw new Error("expected losses")
      const furthest = again.response.losses.reduce((most, loss, i) => {
        return Math.max(most, Math.abs(loss - response.losses[i]!))
      }, 0)
      expect(furthest).toBeLessThan(1e-4)
    }
  })

  test("questions about one conversation compute it once", async () => {
    const lines = await run(lm, "mrcr_2", { lengths: [1000], samples: 4 })
    const [first, ...others] = lines.filter(({ group }) => group === lines[0]!.group)
    expect(others.length).toBeGreaterThan(0)
    expect(first!.trouble).toBeUndefined()
    expect(first!.reusedTokens).toBeLessThan(8) // what the test before left, such as BOS
    for (const { promptTokens, reusedTokens, prefillTokens } of others) {
      expect(reusedTokens).toBeGreaterThan(0.7 * promptTokens)
      expect(reusedTokens! + prefillTokens!).toBe(promptTokens - 1)
    }
  })

  test("several answers at once are those that come one by one", async () => {
    const request = { lengths: [160], depths: [0, 50, 100], samples: 2 }
    const said = (lines: readonly ResultLine[]) => lines.map(({ id, answer }) => `${id} ${answer}`).sort()
    await using several = await load(undefined, { device, context: 256, sequences: 3 })
    const options = { data: packageData, of: await modelIdentity(several), parallel: 3 }
    const together: ResultLine[] = []
    for await (const { line } of evaluate(several, [{ task: taskOf("niah_magic"), request }], options)) {
      together.push(line)
    }
    expect(said(together)).toEqual(said(await run(lm, "niah_magic", request)))
  })

  test("its identity is of its files and of the adapters that are on", async () => {
    const one = await modelIdentity(lm, { dtype: "stored" })
    await using other = await load(undefined, { device, context: 64 })
    expect(await modelIdentity(other, { dtype: "stored" })).toEqual(one)
    expect(one.adapters).toBeNull()
    expect(one.model).toEqual({ name: "storyteller", hash: expect.stringMatching(/^[0-9a-f]{64}$/) })
  })
})
