import { describe, expect, test } from "vitest"
import { linearModules, targetModules } from "../../src/model/peft.ts"
import { Q } from "./peft_folders.ts"

describe("targetModules", () => {
  const paths = linearModules({ ...tinyConfig(), tiedHead: false }).map(({ path }) => path)
  const select = (modules: string[] | string, more = {}) => targetModules({ modules, ...more }, paths)

  test("takes a list of path ends, a regular expression over paths, or all-linear", () => {
    expect(paths.length).toBe(3 * 7 + 1)
    expect(select(["q_proj", "mlp.down_proj"])).toEqual(
      [0, 1, 2].flatMap((i) => [`model.layers.${i}.self_attn.q_proj`, `model.layers.${i}.mlp.down_proj`]),
    )
    expect(select([Q])).toEqual([Q])
    expect(select(".*layers\\.[02]\\..*(q|v)_proj").length).toBe(4)
    expect(select("all-linear")).toEqual(paths.slice(0, -1))
    expect(select(["lm_head"])).toEqual(["lm_head"])
  })

  test("leaves out what is excluded", () => {
    expect(select("all-linear", { exclude: ["self_attn.o_proj", "up_proj"] }).length).toBe(15)
    expect(select("all-linear", { exclude: ".*layers\\.[01].*" }).length).toBe(7)
  })

  test("keeps to the layers asked for, where a name is not a whole path", () => {
    expect(select(["q_proj"], { layersToTransform: [2] })).toEqual(["model.layers.2.self_attn.q_proj"])
    expect(select(["q_proj", Q], { layersToTransform: [2] }).length).toBe(2)
    expect(select(["q_proj"], { layersToTransform: [0, 1], layersPattern: ["layers"] }).length).toBe(2)
    expect(select(["q_proj"], { layersToTransform: [] }).length).toBe(3)
    expect(() => select(["q_proj"], { layersToTransform: [0], layersPattern: ["h"] })).toThrow(RangeError)
  })

  test("says what there is when nothing fits", () => {
    const all = "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head"
    expect(() => select(["query"])).toThrow(`targetModules: ["query"] is in no module, expected some of ${all}`)
    expect(() => select("q_proj")).toThrow(RangeError) // a whole path must match
    expect(() => select(["proj"])).toThrow(RangeError) // ends are cut at dots
    expect(() => select(["q_proj"], { layersToTransform: [7] })).toThrow("in layers [7]")
    expect(() => select("(")).toThrow(SyntaxError)
  })
})

function tinyConfig() {
  const config = { hiddenSize: 64, vocabSize: 320, intermediateSize: 128, numHeads: 4, numKvHeads: 1, headDim: 32 }
  return { ...config, numLayers: 3 } as unknown as Parameters<typeof linearModules>[0]
}
