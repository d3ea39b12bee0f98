import { mkdtemp, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseConfig } from "../../src/model/config.ts"
import { encodeBf16, writeSafetensors } from "../../src/model/safetensors.ts"
import { isHead, type WeightSpec, weightTable } from "../../src/model/weights.ts"
import { writeFileAtomic } from "../../src/platform/node_files.ts"
import { random } from "./random_checkpoint.ts"

/** config.json of MMfreeLM-370M (Zhu et al., arXiv:2406.02528), less what says nothing of its shape. */
const MMFREE_370M = {
  architectures: ["HGRNBitForCausalLM"],
  model_type: "hgrn_bit",
  vocab_size: 32000,
  hidden_size: 1024,
  num_hidden_layers: 24,
  num_heads: 1,
  expand_ratio: 1,
  hidden_ratio: 4,
  intermediate_size: null,
  hidden_act: "swish",
  use_lower_bound: true,
  rms_norm_eps: 1e-6,
  max_position_embeddings: 2048,
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
}

const STD = 0.02
/** Random numbers that rows are cut from. */
const TABLE = 2 ** 20
const PIECE_BYTES = 4 * 2 ** 20

/** n numbers from N(0, STD) in bf16 (Box-Muller). */
export function gaussians(n: number): Uint16Array<ArrayBuffer> {
  const next = random(1)
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
  return encodeBf16(Float32Array.from({ length: n }, () => STD * normal()))
}

/**
 * A matrix piece by piece. Row r is cut from the table at `offset + r * stride`: with an odd stride no two rows begin at the
 * same place, and they cost no more than a copy.
 */
function* matrix([N, C]: readonly number[], table: Uint16Array, next: () => number): Generator<Uint8Array> {
  const offset = Math.floor(next() * TABLE)
  const stride = Math.floor(next() * TABLE) | 1
  const most = Math.floor(PIECE_BYTES / (2 * C!))
  for (let row = 0; row < N!; row += most) {
    const rows = Math.min(most, N! - row)
    const piece = new Uint16Array(rows * C!)
    for (let r = 0; r < rows; r++) {
      const at = (offset + (row + r) * stride) % TABLE
      piece.set(table.subarray(at, at + C!), r * C!)
    }
    yield new Uint8Array(piece.buffer)
  }
}

/** Norms are 1 and lower bounds 0, as in a model that is about to be trained. */
function bytesOf({ field, shape }: WeightSpec, table: Uint16Array, next: () => number) {
  const constant = (value: number) =>
    new Uint8Array(encodeBf16(new Float32Array(shape.reduce((product, n) => product * n, 1)).fill(value)).buffer)
  if (field === "lowerBounds") return constant(0)
  return shape.length === 1 ? constant(1) : () => matrix(shape, table, next)
}

/**
 * Writes a MatMul-free model's checkpoint with random weights in bf16, by default of MMfreeLM-370M's shape (748 MB), and gives
 * its folder. `overrides` are keys of config.json.
 */
export async function writeRandomHgrn(overrides: Record<string, unknown> = {}): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "gemlet-hgrn-"))
  const json = { ...MMFREE_370M, ...overrides }
  const config = parseConfig(json, "config.json")
  const table = gaussians(TABLE + Math.max(config.hiddenSize, config.intermediateSize))
  const next = random(2)
  const entries = weightTable(config).map((spec) => ({
    name: isHead(spec) ? spec.name : `model.${spec.name}`,
    dtype: "BF16" as const,
    shape: [...spec.shape],
    bytes: bytesOf(spec, table, next),
  }))
  await writeFileAtomic(join(folder, "model.safetensors"), writeSafetensors(entries))
  await writeFile(join(folder, "config.json"), JSON.stringify(json))
  return folder
}
