import { describe, expect, test } from "vitest"
import { openCheckpoint } from "../../src/model/checkpoint.ts"
import { linearWeight, mergeAdapters, type PeftAdapter, type PeftModule } from "../../src/model/peft.ts"
import { readFloat32, readHeader } from "../../src/model/safetensors.ts"
import { memoryFolder, memorySource } from "../../src/model/source.ts"
import { expectClose } from "../helpers/compare.ts"
import { adapted, plus } from "../reference/low_rank.ts"
import { type Files, readGolden, safetensors, seededRandom } from "./fixture_folders.ts"
import { adapterOf, bytesOf, golden, module, Q, read } from "./peft_folders.ts"

const random = seededRandom(10)

type Merged = {
  before: Map<string, Uint8Array>
  after: Map<string, Uint8Array>
  floats: (name: string) => Promise<Float32Array>
}

/** Names of the tensors whose bytes differ. */
const changed = ({ before, after }: Merged) =>
  [...after].filter(([name, bytes]) => Buffer.compare(bytes, before.get(name)!) !== 0).map(([name]) => name)

/** Merges into a checkpoint, through a written file. */
async function merge(files: Files, adapters: Parameters<typeof mergeAdapters>[1]): Promise<Merged> {
  const checkpoint = await openCheckpoint(memoryFolder("base", files))
  const bytes = await safetensors(mergeAdapters(checkpoint, adapters))
  const merged = new Map([...files].filter(([name]) => !/safetensors/.test(name))).set("model.safetensors", bytes)
  const opened = await openCheckpoint(memoryFolder("merged", merged))
  const raw = async ({ tensors }: typeof checkpoint) => {
    const pairs = [...tensors].map(async ([name, { source, info }]): Promise<[string, Uint8Array]> => {
      return [name, new Uint8Array(await source.slice(info.start, info.end))]
    })
    return new Map(await Promise.all(pairs))
  }
  const floats = (name: string) => readFloat32(opened.tensors.get(name)!.source, opened.tensors.get(name)!.info)
  return { before: await raw(checkpoint), after: await raw(opened), floats }
}

async function weightOf(files: Files, path: string): Promise<Float32Array> {
  const checkpoint = await openCheckpoint(memoryFolder("base", files))
  const { source, info } = linearWeight(checkpoint, path)!
  return readFloat32(source, info)
}

describe("mergeAdapters", () => {
  test.each(["tiny-gemma1", "tiny-gemma2", "tiny-gemma3"])(
    "adds %s's adapter, and leaves every other byte",
    async (name) => {
      const files = readGolden(name)
      const adapter = await read(golden(name))
      const merged = await merge(files, [{ adapter }])
      expect([...merged.after.keys()]).toEqual([...merged.before.keys()])
      expect(changed(merged)).toEqual([...adapter.modules.keys()].map((path) => `${path}.weight`))
      for (const [path, module] of adapter.modules) {
        const expected = Float32Array.from(adapted(await weightOf(files, path), module))
        expectClose(await merged.floats(`${path}.weight`), expected, { absolute: 1e-7 }, { what: path })
      }
    },
  )

  test.each([
    ["tiny-gemma3-bf16", "BF16", 2 ** -8],
    ["tiny-gemma3-f16", "F16", 2 ** -11],
  ] as const)("rounds once to %s's %s", async (name, dtype, half) => {
    const files = readGolden(name)
    const weight = await weightOf(files, Q)
    const out = weight.length / 64
    const adapter = adapterOf({ [Q]: module(2, out, 64) })
    const merged = await merge(files, [{ adapter }])
    const exact = adapted(weight, adapter.modules.get(Q)!)
    const stored = await merged.floats(`${Q}.weight`)
    expect(Buffer.compare(merged.after.get(`${Q}.weight`)!, bytesOf(exact, dtype))).toBe(0)
    for (const [i, value] of stored.entries()) {
      expect(Math.abs(value - exact[i]!)).toBeLessThanOrEqual(Math.abs(exact[i]!) * half * 1.001 + 2 ** -25)
    }
    expect(changed(merged)).toEqual([`${Q}.weight`])
  })

  test("gives DoRA's rows their norms", async () => {
    const files = readGolden("tiny-gemma3")
    const magnitude = Float32Array.from({ length: 128 }, () => random() + 0.5)
    const adapter = adapterOf({ [Q]: { ...module(3, 128, 64, 1.5), magnitude } }, { useDora: true })
    const { floats } = await merge(files, [{ adapter }])
    const merged = await floats(`${Q}.weight`)
    const expected = adapted(await weightOf(files, Q), adapter.modules.get(Q)!)
    expectClose(merged, expected, { absolute: 4e-8 }, { what: Q })
    for (let row = 0; row < 128; row++) {
      expect(Math.hypot(...merged.subarray(row * 64, (row + 1) * 64))).toBeCloseTo(magnitude[row]!, 5)
    }
  })

  test("adds what each of several adapters would change alone, as much as asked", async () => {
    const files = readGolden("tiny-gemma3")
    const weight = await weightOf(files, Q)
    const magnitude = Float32Array.from({ length: 128 }, () => random() + 0.5)
    const plain = adapterOf({ [Q]: module(3, 128, 64) })
    const dora = adapterOf({ [Q]: { ...module(2, 128, 64), magnitude } }, { useDora: true })
    const change = (adapter: PeftAdapter) => plus(adapted(weight, adapter.modules.get(Q)!), weight, -1)
    const expected = plus(plus(weight, change(plain), 0.5), change(dora), -0.25)
    for (const order of [
      [
        { adapter: plain, weight: 0.5 },
        { adapter: dora, weight: -0.25 },
      ],
      [
        { adapter: dora, weight: -0.25 },
        { adapter: plain, weight: 0.5 },
      ],
    ]) {
      const { floats } = await merge(files, order)
      expectClose(await floats(`${Q}.weight`), expected, { absolute: 4e-8 }, { what: Q })
    }
    expect(changed(await merge(files, [{ adapter: plain }, { adapter: plain, weight: -1 }]))).toEqual([])
  })

  test("changes no bit when B is zero", async () => {
    const files = readGolden("tiny-gemma3-bf16")
    const bytes = files.get("model.safetensors")!
    const { tensors } = await readHeader(memorySource(bytes), "model.safetensors")
    bytes.set([0, 0x80], tensors.get(`${Q}.weight`)!.start) // a weight of -0
    const out = (await weightOf(files, Q)).length / 64
    const zero = { ...module(4, out, 64), b: new Float32Array(out * 4) }
    expect(changed(await merge(files, [{ adapter: adapterOf({ [Q]: zero }) }]))).toEqual([])
  })

  test("finds modules by the names of other transformers versions, sharded and multimodal checkpoints too", async () => {
    for (const name of ["tiny-gemma3-mm", "tiny-gemma3-rope8-sharded"]) {
      const files = readGolden(name)
      const inner = "layers.1.mlp.down_proj"
      const weight = await weightOf(files, `model.${inner}`)
      const [out, width] = [64, weight.length / 64]
      for (const prefix of ["model.", "model.language_model.", "language_model.model.", ""]) {
        const adapter = adapterOf({ [prefix + inner]: module(2, out, width) })
        const names = changed(await merge(files, [{ adapter }]))
        expect(names.map((name) => name.endsWith(`${inner}.weight`))).toEqual([true])
      }
    }
  })

  test("streams a matrix of many pieces, with at most one in memory", async () => {
    const files = readGolden("tiny-gemma1")
    const checkpoint = await openCheckpoint(memoryFolder("base", files))
    const wide = 3 * 2 ** 19 // a row of 6 MiB, more than a piece
    const values = Float32Array.from({ length: 3 * wide }, (_, i) => i % 1000)
    const source = memorySource(new Uint8Array(values.buffer))
    const info = { name: `${Q}.weight`, dtype: "F32", shape: [3, wide], start: 0, end: values.byteLength } as const
    const stored = { file: "model.safetensors", source, info }
    const weights = new Map([
      ["layers.0.attention.q", { ...checkpoint.weights.get("layers.0.attention.q")!, ...stored }],
    ])
    const tensors = new Map([[info.name, stored]])
    const one = { ...module(1, 3, wide), a: new Float32Array(wide).fill(2), b: Float32Array.of(1, 2, 3) }
    const [entry] = mergeAdapters({ ...checkpoint, tensors, weights }, [{ adapter: adapterOf({ [Q]: one }) }])
    const bytes = entry!.bytes as () => AsyncIterable<Uint8Array>
    let row = 0
    for await (const chunk of bytes()) {
      const merged = new Float32Array(chunk.buffer, chunk.byteOffset, wide)
      expect(chunk.byteLength).toBe(4 * wide)
      expect([merged[0], merged.at(-1)]).toEqual([
        values[row * wide]! + 2 * (row + 1),
        values[row * wide + wide - 1]! + 2 * (row + 1),
      ])
      row++
    }
    expect(row).toBe(3)
  })

  test.each<[string, Record<string, PeftModule>, string]>([
    [
      "a layer that is not there",
      { "model.layers.9.self_attn.q_proj": module(8, 128, 64) },
      "model.layers.9.self_attn.q_proj is [128, 64], expected a linear module of base (is the adapter for another base?)",
    ],
    [
      "an embedding",
      { "model.embed_tokens": module(8, 320, 64) },
      "model.embed_tokens is [320, 64], expected a linear module",
    ],
    ["a norm", { "model.norm": module(8, 64, 1) }, "model.norm is [64, 1], expected a linear module"],
    ["the head of a tied model", { lm_head: module(8, 320, 64) }, "its head is the embedding"],
    [
      "another size",
      { [Q]: module(8, 128, 32) },
      `${Q} is [128, 32], expected [out, in] = [128, 64] (is the adapter for another base?)`,
    ],
  ])("refuses %s", async (_, modules, message) => {
    const checkpoint = await openCheckpoint(memoryFolder("base", readGolden("tiny-gemma1")))
    const fail = () => mergeAdapters(checkpoint, [{ adapter: adapterOf(modules) }])
    expect(fail).toThrow(RangeError)
    expect(fail).toThrow(message)
  })

  test("refuses values that the dtype cannot hold, and weights that are no numbers", async () => {
    const files = readGolden("tiny-gemma3-f16")
    const out = (await weightOf(files, Q)).length / 64
    const huge = { ...module(1, out, 64), a: new Float32Array(64).fill(300), b: new Float32Array(out).fill(300) }
    const adapter = adapterOf({ [Q]: huge })
    await expect(merge(files, [{ adapter }])).rejects.toThrow("after the merge, expected a value that F16 can hold")
    await expect(merge(files, [{ adapter, weight: Number.NaN }])).rejects.toThrow("weight is NaN")
    const vast = { ...huge, a: new Float32Array(64).fill(3e38) }
    await expect(merge(readGolden("tiny-gemma3"), [{ adapter: adapterOf({ [Q]: vast }) }])).rejects.toThrow(
      "F32 can hold",
    )
    await expect(merge(readGolden("tiny-gemma3-bf16"), [{ adapter: adapterOf({ [Q]: vast }) }])).rejects.toThrow(
      "BF16 can hold",
    )
  })
})
