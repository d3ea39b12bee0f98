import type { Device } from "../kernels/device.ts"
import type { Variable } from "../kernels/tape.ts"
import type { Checkpoint, Weight } from "./checkpoint.ts"
import type { LinearAdapter } from "./linear.ts"
import type { Network } from "./network.ts"
import { tensorsOf } from "./parameter.ts"
import { hex, sha256, sha256Text } from "./sha256.ts"
import type { Source } from "./source.ts"

/** A checkpoint whose weights are hashed while they are read. */
export interface HashedCheckpoint {
  readonly checkpoint: Checkpoint
  /**
   * Once all is read: a SHA-256 of the config and every byte that was read of a weight.
   *
   * @throws {TypeError} for a weight that was not read
   */
  digest(): Promise<string>
}

/**
 * Has a checkpoint's weights hashed on their way to the GPU. Two trainings of one model differ in nothing else, and a second
 * reading would be a second download where they come by ranges. Pieces are hashed as they are read, so another device, which
 * is given them in other pieces, may have another name for the same model.
 */
export function hashReads(checkpoint: Checkpoint): HashedCheckpoint {
  const pieces: string[] = []
  const read = new Set<string>()
  let last = Promise.resolve()
  const hashing = <T extends { readonly source: Source }>(stored: T, field: string, part = ""): T => {
    const { source } = stored
    const slice = async (start: number, end: number) => {
      const bytes = await source.slice(start, end)
      await last // one piece is hashed while the next is read
      read.add(field)
      last = sha256(bytes).then((digest) => {
        pieces.push(`${field}${part} ${start} ${end} ${hex(digest)}`)
      })
      last.catch(() => {}) // reported by digest()
      return bytes
    }
    return { ...stored, source: { byteLength: source.byteLength, slice } }
  }
  const weights = [...checkpoint.weights].map(([field, weight]): [string, Weight] => {
    const { scale, blocks } = weight
    const parts = {
      scale: scale && hashing(scale, field, " scale"),
      blocks: blocks && hashing(blocks, field, " blocks"),
    }
    return [field, { ...hashing(weight, field), ...parts }]
  })
  return {
    checkpoint: { ...checkpoint, weights: new Map(weights) },
    digest: async () => {
      await last
      const missing = weights.find(([field]) => !read.has(field))
      if (missing) throw new TypeError(`prefix: ${missing[0]} was not read, expected every weight to be`)
      return sha256Text([JSON.stringify(checkpoint.config), ...pieces.sort()].join("\n"))
    },
  }
}

/** A SHA-256 of the adapters that are on, as they are on the GPU; of nothing where none is. */
export async function adaptersDigest(device: Device, { linears }: Network): Promise<string> {
  const parts: string[] = []
  for (const [path, { adapters }] of [...linears].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const adapter of adapters) {
      parts.push(`${path} ${adapter.scale}`)
      for (const [name, variable] of factorsOf(adapter)) {
        for (const tensor of tensorsOf(variable)) {
          parts.push(`${name} ${variable.shape} ${hex(await sha256(await device.read(tensor)))}`)
        }
      }
    }
  }
  return sha256Text(parts.join("\n"))
}

function factorsOf({ a, b, s, offset, dora }: LinearAdapter): [name: string, variable: Variable][] {
  const factors = { a, b, s, offsetA: offset?.a, offsetB: offset?.b, magnitude: dora?.magnitude }
  return Object.entries(factors).flatMap(([name, variable]) => (variable ? [[name, variable]] : []))
}
