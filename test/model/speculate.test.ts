import { describe, expect, test } from "vitest"
import { type Draftable, expectDraft } from "../../src/model/speculate.ts"

describe("expectDraft", () => {
  const device = { gpu: {} as GPUDevice }
  const config = { modelType: "gemma3_text", vocabSize: 96 } as const
  const model: Draftable = { device, config, context: 512 }

  test("takes a model of the same vocabulary on the same GPU device, with as much room or more", () => {
    expect(() => expectDraft(model, { ...model })).not.toThrow()
    expect(() =>
      expectDraft(model, { ...model, context: 513, config: { ...config, modelType: "llama" } }),
    ).not.toThrow()
  })

  test.each<[string, Draftable, string]>([
    ["itself", model, "draft is the model itself, expected another"],
    [
      "one on another device",
      { ...model, device: { gpu: {} as GPUDevice } },
      "draft is on a GPU device of its own, expected the model's (load it with beside)",
    ],
    [
      "one that cannot go back",
      { ...model, config: { ...config, modelType: "hgrn_bit" } },
      "with a draft a model is hgrn_bit, expected models that can go back some tokens",
    ],
    [
      "another vocabulary",
      { ...model, config: { ...config, vocabSize: 100 } },
      "draft has a vocabulary of 100, expected the model's 96",
    ],
    ["less room", { ...model, context: 511 }, "draft has a context of 511, expected at least the model's 512"],
  ])("refuses %s", (_, draft, message) => {
    expect(() => expectDraft(model, draft)).toThrow(new RangeError(`generate: ${message}`))
  })

  test("refuses a draft for a model that cannot go back", () => {
    const recurrent: Draftable = { ...model, config: { ...config, modelType: "hgrn_bit" } }
    expect(() => expectDraft(recurrent, model)).toThrow(RangeError)
  })
})
