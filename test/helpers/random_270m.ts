import { createHash } from "node:crypto"
import { copyFile, mkdtemp } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { writeSafetensors } from "../../src/model/safetensors.ts"
import { writeFileAtomic } from "../../src/platform/node_files.ts"
import { fixture } from "./golden.ts"

/** sha256 of the tensors' bytes in file order, as listed beside the golden. */
export const SHA256 = "426b672a47e1ff072b66a48950511ec33b07e5e220d87bcca027f70246eabde0"

interface Rule {
  name: string
  shape: number[]
  std: number
  mean: number
}

/** Every tensor of Gemma 3 270M with the spread of its random weights, in file order. */
function rules(): Rule[] {
  const [V, C, F, H, D] = [262144, 640, 2048, 1024, 256]
  const matrix = (name: string, rows: number, columns: number, std = columns ** -0.5): Rule => {
    return { name: `model.${name}.weight`, shape: [rows, columns], std, mean: 0 }
  }
  const norm = (name: string, width: number, std: number, mean: number): Rule => {
    return { name: `model.${name}.weight`, shape: [width], std, mean }
  }
  const layer = (i: number): Rule[] => [
    matrix(`layers.${i}.self_attn.q_proj`, H, C),
    matrix(`layers.${i}.self_attn.k_proj`, D, C),
    matrix(`layers.${i}.self_attn.v_proj`, D, C),
    matrix(`layers.${i}.self_attn.o_proj`, C, H),
    norm(`layers.${i}.self_attn.q_norm`, D, 0.2, 0.6),
    norm(`layers.${i}.self_attn.k_norm`, D, 0.2, 0.6),
    matrix(`layers.${i}.mlp.gate_proj`, F, C),
    matrix(`layers.${i}.mlp.up_proj`, F, C),
    matrix(`layers.${i}.mlp.down_proj`, C, F),
    norm(`layers.${i}.input_layernorm`, C, 0.2, 0),
    norm(`layers.${i}.post_attention_layernorm`, C, 0.2, -0.3),
    norm(`layers.${i}.pre_feedforward_layernorm`, C, 0.2, 0),
    norm(`layers.${i}.post_feedforward_layernorm`, C, 0.2, -0.3),
  ]
  const layers = Array.from({ length: 18 }, (_, i) => layer(i)).flat()
  return [matrix("embed_tokens", V, C, 0.012), ...layers, norm("norm", C, 0.3, 5)]
}

function fnv1a(text: string): number {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

/** Weights as bf16, a few million at a time. */
async function* weights({ name, shape, std, mean }: Rule): AsyncGenerator<Uint8Array> {
  const count = shape.reduce((product, n) => product * n, 1)
  const seed = fnv1a(name)
  const spread = Math.sqrt(3) * std
  const piece = 4 * 2 ** 20
  for (let start = 0; start < count; start += piece) {
    const values = new Float32Array(Math.min(piece, count - start))
    const bits = new Uint32Array(values.buffer)
    const halves = new Uint16Array(values.length)
    for (let i = 0; i < values.length; i++) {
      let v = (Math.imul(start + i, 0x9e3779b9) + seed) >>> 0
      v ^= v >>> 16
      v = Math.imul(v, 0x7feb352d) >>> 0
      v ^= v >>> 15
      v = Math.imul(v, 0x846ca68b) >>> 0
      v = (v ^ (v >>> 16)) >>> 0
      values[i] = (v / 2 ** 31 - 1) * spread + mean
      const word = bits[i]!
      halves[i] = (word + 0x7fff + ((word >>> 16) & 1)) >>> 16 // nearest even
    }
    yield new Uint8Array(halves.buffer)
  }
}

/** Writes a checkpoint of Gemma 3 270M's real shape with weights made by rule (536 MB), and gives its sha256. */
export async function writeRandom270m(): Promise<{ folder: string; sha256: string }> {
  const folder = await mkdtemp(join(tmpdir(), "gemlet-270m-"))
  const hash = createHash("sha256")
  const entries = rules().map((rule) => ({
    name: rule.name,
    dtype: "BF16" as const,
    shape: rule.shape,
    bytes: async function* () {
      for await (const bytes of weights(rule)) {
        hash.update(bytes)
        yield bytes
      }
    },
  }))
  await writeFileAtomic(join(folder, "model.safetensors"), writeSafetensors(entries))
  await copyFile(fixture("goldens/random-270m/config.json"), join(folder, "config.json"))
  return { folder, sha256: hash.digest("hex") }
}
