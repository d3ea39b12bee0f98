import { describe, expect, test } from "vitest"
import { type Checkpoint, openCheckpoint, type StoredTensor } from "../../src/model/checkpoint.ts"
import { linearModules } from "../../src/model/peft_targets.ts"
import { readFloat32, readHeader } from "../../src/model/safetensors.ts"
import { memoryFolder, memorySource } from "../../src/model/source.ts"
import { type MemoryStore, memoryStore } from "../../src/model/store.ts"
import { type CompressedLayer, type Compression, type CompressOptions, compress } from "../../src/train/compress.ts"
import { expectClose } from "../helpers/compare.ts"
import { readFolder, readGolden } from "../model/fixture_folders.ts"
import { secondMoment, weightError } from "../reference/factorize.ts"
import { product } from "../reference/low_rank.ts"

const FILE = "model.safetensors"
const open = (name: string) => openCheckpoint(memoryFolder(name, readGolden(name)))

interface Written extends Compression {
  readonly store: MemoryStore
  readonly checkpoint: Checkpoint
  /** What the new file holds. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

async function compressed(name: string, options: CompressOptions): Promise<Written> {
  const [checkpoint, store] = [await open(name), memoryStore()]
  const result = await compress(checkpoint, store, options)
  return { ...result, checkpoint, store, tensors: await tensorsOf(store) }
}

async function tensorsOf({ files }: MemoryStore): Promise<Map<string, StoredTensor>> {
  const source = memorySource(files.get(FILE)!)
  const { tensors } = await readHeader(source, FILE)
  return new Map([...tensors].map(([name, info]) => [name, { file: FILE, source, info }]))
}

const bytes = async ({ source, info }: StoredTensor) => new Uint8Array(await source.slice(info.start, info.end))
const values = ({ source, info }: StoredTensor) => readFloat32(source, info)
const size = (tensors: Iterable<StoredTensor>) => [...tensors].reduce((sum, { info }) => sum + info.end - info.start, 0)

/** The weight that a layer's factors stand for. */
async function productOf({ tensors }: Written, { path, shape, rank }: CompressedLayer): Promise<Float64Array> {
  const [u, v] = [await values(tensors.get(`${path}.u.weight`)!), await values(tensors.get(`${path}.v.weight`)!)]
  return product(u, v, [shape[0], rank!, shape[1]])
}

describe("compress", () => {
  test.each([
    ["tiny-gemma1", "F32"],
    ["tiny-gemma3-bf16", "BF16"],
    ["tiny-gemma3-f16", "F16"],
    ["tiny-gemma3-mm", "BF16"],
    ["tiny-gemma3-rope8-sharded", "BF16"],
  ])("writes %s's layers as two in %s, and all else as it is", async (name, dtype) => {
    const written = await compressed(name, { rank: { fraction: 0.25 } })
    const { checkpoint, store, tensors, layers } = written
    const modules = linearModules(checkpoint.config, checkpoint.prefix)
    expect(layers.map(({ path, shape }) => ({ path, shape }))).toEqual(
      modules.map(({ path, shape }) => ({ path, shape })),
    )
    expect(layers.some(({ rank }) => rank !== null)).toBe(true)
    const expected = new Map([...checkpoint.tensors].map(([name, { info }]) => [name, info.shape]))
    for (const { path, shape, rank } of layers) {
      if (rank === null) continue
      expect(rank).toBe(Math.round(Math.min(...shape) / 16) * 4)
      expected.delete(`${path}.weight`)
      expected.set(`${path}.u.weight`, [shape[0], rank]).set(`${path}.v.weight`, [rank, shape[1]])
    }
    const byName = (entries: Iterable<[string, unknown]>) => [...entries].sort(([a], [b]) => (a < b ? -1 : 1))
    expect(byName([...tensors].map(([name, { info }]) => [name, info.shape]))).toEqual(byName(expected))
    for (const [name, tensor] of tensors) {
      const stored = checkpoint.tensors.get(name)
      if (stored) expect(await bytes(tensor)).toEqual(await bytes(stored))
      else expect(tensor.info.dtype).toBe(dtype)
    }
    const opened = await openCheckpoint(store)
    const [first] = layers.filter(({ rank }) => rank !== null)
    expect(opened.tensors.has(`${first!.path}.u.weight`)).toBe(true)
    expect(store.files.get("config.json")).toEqual(readGolden(name).get("config.json"))
    expect([...store.files.keys()].filter((file) => file.endsWith(".safetensors"))).toEqual([FILE])
  })

  test("counts bytes and tells what of each weight is lost", async () => {
    const written = await compressed("tiny-gemma1", { rank: { absolute: 8 } })
    const { checkpoint, tensors, layers, bytesBefore, bytesAfter } = written
    expect(bytesBefore).toBe(size(checkpoint.tensors.values()))
    expect(bytesAfter).toBe(size(tensors.values()))
    for (const layer of layers) {
      const { path, shape, error, bytesBefore, bytesAfter } = layer
      const weight = checkpoint.tensors.get(`${path}.weight`)!
      expect(layer.rank).toBe(8)
      expect(bytesBefore).toBe(size([weight]))
      expect(bytesAfter).toBe(size([tensors.get(`${path}.u.weight`)!, tensors.get(`${path}.v.weight`)!]))
      const [u, v] = [tensors.get(`${path}.u.weight`)!, tensors.get(`${path}.v.weight`)!]
      const truth = weightError(await values(weight), await values(u), await values(v), [shape[0], 8, shape[1]])
      expect(error).toBeCloseTo(truth, 6)
      expect(layer).not.toHaveProperty("outputError")
    }
  })

  test("with an energy keeps it in every layer at the least rank, and leaves dense what would not be smaller", async () => {
    for (const energy of [0.5, 0.8]) {
      const { layers } = await compressed("tiny-gemma1", { rank: { energy } })
      for (const { shape, rank, error } of layers) {
        if (rank === null) continue
        expect(rank % 4).toBe(0)
        expect(rank * (shape[0] + shape[1])).toBeLessThan(shape[0] * shape[1])
        expect(1 - error ** 2).toBeGreaterThanOrEqual(energy)
      }
      expect(layers.some(({ rank }) => rank !== null)).toBe(true)
    }
    await expect(compressed("tiny-gemma1", { rank: { energy: 1 } })).rejects.toThrow(
      'compress: rank is {"energy":1}, expected one that makes a dense layer of tiny-gemma1 smaller',
    )
  })

  test("takes the layers that are asked for, and tells of each", async () => {
    const told: string[] = []
    const { checkpoint, tensors, layers } = await compressed("tiny-gemma1", {
      rank: { absolute: 4 },
      modules: { modules: ["q_proj", "down_proj"] },
      onLayer: ({ path }, done, of) => told.push(`${done}/${of} ${path}`),
    })
    const ends = new Set(layers.map(({ path }) => path.slice(path.lastIndexOf(".") + 1)))
    expect([...ends]).toEqual(["q_proj", "down_proj"])
    expect(layers.length).toBe(2 * checkpoint.config.numLayers)
    expect([...tensors.keys()].filter((name) => name.includes(".u.weight")).length).toBe(layers.length)
    expect(told.length).toBe(layers.length)
    expect(told.at(-1)).toContain(`${layers.length}/${layers.length} `)
  })

  test("with moments keeps more of the outputs", async () => {
    const { config, prefix } = await open("tiny-gemma1")
    const moments = new Map(
      linearModules(config, prefix).map(({ path, shape: [, width] }) => {
        const inputs = Float64Array.from({ length: 50 * width }, (_, i) => Math.sin(i * i) * (1 + ((7 * i) % width)))
        return [path, secondMoment(inputs, [50, width])]
      }),
    )
    const rank = { absolute: 8 }
    const [plain, weighted] = [
      await compressed("tiny-gemma1", { rank }),
      await compressed("tiny-gemma1", { rank, moments }),
    ]
    for (const [i, layer] of weighted.layers.entries()) {
      expect(layer.error).toBeGreaterThan(plain.layers[i]!.error)
      const stored = plain.checkpoint.tensors.get(`${layer.path}.weight`)!
      const weight = await values(stored)
      const lost = async (written: Written) => {
        const uv = await productOf(written, layer)
        const rest = uv.map((value, k) => value - weight[k]!)
        const [n, c] = layer.shape
        const moved = product(rest, moments.get(layer.path)!, [n, c, c])
        return moved.reduce((sum, value, k) => sum + value * rest[k]!, 0)
      }
      expect(await lost(weighted)).toBeLessThan(await lost(plain))
      expect(layer.outputError).toBeGreaterThan(0)
    }
    moments.delete(weighted.layers[3]!.path)
    await expect(compressed("tiny-gemma1", { rank, moments })).rejects.toThrow(
      `compress: moments of ${weighted.layers[3]!.path} are missing, expected those of its inputs`,
    )
  })

  test("keeps what is low-rank already, to the bit", async () => {
    const first = await compressed("tiny-gemma1", { rank: { absolute: 8 }, modules: { modules: ["q_proj"] } })
    const store = memoryStore()
    const { layers } = await compress(await openCheckpoint(first.store), store, { rank: { absolute: 4 } })
    const again = await tensorsOf(store)
    for (const { path, rank, error, bytesBefore, bytesAfter } of layers) {
      const wasLowRank = path.endsWith("q_proj")
      expect([rank, error === 0, bytesBefore === bytesAfter]).toEqual([wasLowRank ? 8 : 4, wasLowRank, wasLowRank])
      if (!wasLowRank) continue
      for (const name of [`${path}.u.weight`, `${path}.v.weight`]) {
        expect(await bytes(again.get(name)!)).toEqual(await bytes(first.tensors.get(name)!))
      }
    }
  })

  test("loses nothing of a weight whose rank is low", async () => {
    // Storyteller's first layer, cut to rank 8 and stored dense again, comes back.
    const files = readFolder("weights/storyteller")
    const checkpoint = await openCheckpoint(memoryFolder("storyteller", files))
    const path = "model.layers.0.mlp.up_proj"
    const stored = checkpoint.tensors.get(`${path}.weight`)!
    const [n, c] = stored.info.shape as [number, number]
    const cut = Float32Array.from(
      product(
        await values(stored),
        new Float64Array(c * c).map((_, i) => (i % (c + 1) === 0 && i < 8 * c ? 1 : 0)),
        [n, c, c],
      ),
    )
    const source = memorySource(new Uint8Array(cut.buffer))
    const info = { ...stored.info, dtype: "F32" as const, start: 0, end: cut.byteLength }
    const tensors = new Map(checkpoint.tensors).set(`${path}.weight`, { ...stored, source, info })
    const store = memoryStore()
    const options = { rank: { absolute: 8 }, modules: { modules: [path] } }
    const result = await compress({ ...checkpoint, tensors }, store, options)
    const written = { ...result, checkpoint, store, tensors: await tensorsOf(store) }
    expect(result.layers[0]!.error).toBeLessThan(1e-7)
    expectClose(await productOf(written, result.layers[0]!), cut, { relative: 1e-6 }, { what: "u v" })
  })

  test("refuses rules that name no rank, modules that are none and a model of ternary weights", async () => {
    const refused = (rank: CompressOptions["rank"], text: string) =>
      expect(compressed("tiny-gemma1", { rank })).rejects.toThrow(text)
    await refused({ fraction: 0 }, "compress: rank is 0, expected a share of (0, 1]")
    await refused({ energy: 1.5 }, "compress: rank is 1.5, expected a share of (0, 1]")
    await refused({ absolute: 6 }, "compress: rank is 6, expected a multiple of 4")
    await refused({ absolute: 0 }, "compress: rank is 0, expected a multiple of 4")
    await refused({ absolute: 4096 }, "expected one that makes a dense layer of tiny-gemma1 smaller")
    const modules = { modules: ["lm_head"] }
    await expect(compressed("tiny-gemma1", { rank: { absolute: 4 }, modules })).rejects.toThrow("is in no module")
    const ternary = compressed("tiny-hgrnbit", { rank: { absolute: 4 } })
    await expect(ternary).rejects.toThrow("compress: weights of tiny-hgrnbit are ternary")
  })

  test("writes nothing when it is stopped", async () => {
    const controller = new AbortController()
    const store = memoryStore()
    const onLayer = (_: CompressedLayer, done: number) => done === 3 && controller.abort()
    const { signal } = controller
    const stopped = compress(await open("tiny-gemma1"), store, { rank: { absolute: 4 }, onLayer, signal })
    await expect(stopped).rejects.toThrow(/abort/)
    expect(store.files.size).toBe(0)
  })
})
