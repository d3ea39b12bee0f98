import { describe, expect, test } from "vitest"
import { type Folder, load, memoryFolder } from "../../src/index.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { ggufOf, readPlain } from "../helpers/gguf_conversion.ts"
import { dequantize, quantize, type WriterType } from "../helpers/gguf_writer.ts"
import { golden } from "../helpers/golden.ts"
import { type Files, readFolder, readGolden, safetensors, withConfig } from "../model/fixture_folders.ts"

const device = testDeviceKind()

async function logits(folder: Folder, ids: readonly number[]): Promise<Float32Array> {
  const lm = await load(folder, { device, context: 128, chunk: 32 })
  const { data } = await lm.logits(ids)
  await lm.dispose()
  return data
}

const asGguf = (files: Files, type: WriterType) => memoryFolder("gguf", new Map([["model.gguf", ggufOf(files, type)]]))

/** The checkpoint with its matrices as they are after a round through blocks; rows that no blocks fit stay. */
async function throughBlocks(files: Files, type: "Q4_0" | "Q8_0"): Promise<Folder> {
  const entries = readPlain(files.get("model.safetensors")!).map(({ name, shape, values }) => {
    const blocks = shape.length === 2 && shape[1]! % 32 === 0
    const kept = blocks ? dequantize(type, quantize(type, values)) : values
    return { name, dtype: "F32" as const, shape, bytes: new Uint8Array(kept.buffer) }
  })
  return memoryFolder("dequantized", new Map(files).set("model.safetensors", await safetensors(entries)))
}

/** 40 tokens: past the window of 16, and two chunks. */
function idsOf(name: string): number[] {
  const ids = golden(`goldens/${name}`).prompts.map((prompt) => prompt.ids)
  return ids.sort((a, b) => b.length - a.length)[0]!.slice(0, 40)
}

// A GGUF has no query_pre_attn_scalar: that of the fixture becomes what a reader must assume.
const GEMMA2 = withConfig(readGolden("tiny-gemma2"), { query_pre_attn_scalar: 32 })
const STORIES = readFolder("test/fixtures/stories260K")

describe.each([
  ["tiny-gemma1", "F32", readGolden("tiny-gemma1"), idsOf("tiny-gemma1")],
  ["tiny-gemma2", "F32", GEMMA2, idsOf("tiny-gemma2")],
  ["tiny-gemma3", "F32", readGolden("tiny-gemma3"), idsOf("tiny-gemma3")],
  ["tiny-gemma3-bf16", "BF16", readGolden("tiny-gemma3-bf16"), idsOf("tiny-gemma3")],
  ["tiny-gemma3-f16", "F16", readGolden("tiny-gemma3-f16"), idsOf("tiny-gemma3")],
  ["stories260K", "F32", STORIES, [1, 403, 407, 261, 378, 5, 9, 300, 17, 20]],
] as const)("%s as a GGUF in %s", (name, type, files, ids) => {
  test("logits are those of the safetensors checkpoint, bit for bit", async () => {
    const expected = await logits(memoryFolder(name, files), ids)
    expect(expected.some((value) => value !== 0)).toBe(true)
    expect(await logits(asGguf(files, type), ids)).toEqual(expected)
  })
})

describe.each([
  ["tiny-gemma3", readGolden("tiny-gemma3"), idsOf("tiny-gemma3")],
  ["stories260K", STORIES, [1, 403, 407, 261, 378]],
] as const)("%s in blocks", (_, files, ids) => {
  test.each(["Q8_0", "Q4_0"] as const)(
    "logits in %s are those of the dequantized weights, bit for bit",
    async (type) => {
      const expected = await logits(await throughBlocks(files, type), ids)
      expect(await logits(asGguf(files, type), ids)).toEqual(expected)
    },
  )
})
