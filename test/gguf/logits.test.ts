import { expect, test } from "vitest"
import { type Folder, type LoadOptions, load, memoryFolder } from "../../src/index.ts"
import { openCheckpoint } from "../../src/model/checkpoint.ts"
import { readFloat32 } from "../../src/model/safetensors.ts"
import { expectClose } from "../helpers/compare.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { ggufOf, readPlain } from "../helpers/gguf_conversion.ts"
import { dequantize, quantize, type WriterType } from "../helpers/gguf_writer.ts"
import { golden } from "../helpers/golden.ts"
import { type Files, readFolder, readGolden, safetensors, withConfig } from "../model/fixture_folders.ts"

const device = testDeviceKind()

async function logits(folder: Folder, ids: readonly number[], dtype?: LoadOptions["dtype"]): Promise<Float32Array> {
  const lm = await load(folder, { device, context: 128, chunk: 32, dtype })
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

const CHECKPOINTS = [
  ["tiny-gemma1", "F32", readGolden("tiny-gemma1")],
  ["tiny-gemma2", "F32", GEMMA2],
  ["tiny-gemma3", "F32", readGolden("tiny-gemma3")],
  ["tiny-gemma3-bf16", "BF16", readGolden("tiny-gemma3-bf16")],
  ["tiny-gemma3-f16", "F16", readGolden("tiny-gemma3-f16")],
  ["stories260K", "F32", STORIES],
] as const

test.each(CHECKPOINTS)("weights of %s as a GGUF in %s are those of the safetensors", async (name, type, files) => {
  const [expected, found] = [await openCheckpoint(memoryFolder(name, files)), await openCheckpoint(asGguf(files, type))]
  expect([...found.weights.keys()]).toEqual([...expected.weights.keys()])
  for (const [field, weight] of expected.weights) {
    const [is, was] = await Promise.all(
      [found.weights.get(field)!, weight].map(({ source, info }) => readFloat32(source, info)),
    )
    const norm = name !== "stories260K" && /norm$|^layers\.\d+\.(pre|post)/i.test(field)
    // The sum is what the kernel makes of it; the weight itself may have lost bits to the 1.
    const sum = (values: Float32Array) => (norm ? values.map((value) => 1 + value) : values)
    expect(sum(is!), field).toEqual(sum(was!))
  }
})

// All that differs between the types of gemma3 is held by the test above.
test.each(CHECKPOINTS.filter(([name]) => !/^tiny-gemma3$|^stories/.test(name)))(
  "logits of %s as a GGUF in %s are those of the safetensors checkpoint, bit for bit",
  async (name, type, files) => {
    const ids = idsOf(name.replace(/-(bf16|f16)$/, ""))
    const expected = await logits(memoryFolder(name, files), ids)
    expect(expected.some((value) => value !== 0)).toBe(true)
    expect(await logits(asGguf(files, type), ids)).toEqual(expected)
  },
)

test.each([
  ["tiny-gemma3", "Q8_0", readGolden("tiny-gemma3"), idsOf("tiny-gemma3")],
  ["tiny-gemma3", "Q4_0", readGolden("tiny-gemma3"), idsOf("tiny-gemma3")],
  ["stories260K", "Q4_0", STORIES, [1, 403, 407, 261, 378]],
] as const)(
  "logits of %s in %s are those of the dequantized weights, bit for bit in f32 and close where the codes stay",
  async (_, type, files, ids) => {
    const expected = await logits(await throughBlocks(files, type), ids)
    expect(await logits(asGguf(files, type), ids, "f32")).toEqual(expected)
    expectClose(await logits(asGguf(files, type), ids), expected, { absolute: 2e-4 }, { what: "logits" })
  },
)
