import type { StoredTensor } from "../checkpoint.ts"
import { type BlockType, type DType, isBlockType } from "../dtype.ts"
import { clip } from "../keys.ts"
import type { TensorInfo } from "../safetensors.ts"
import { type Folder, memorySource, type Source } from "../source.ts"
import { type GgufConfig, ggufConfig } from "./config.ts"
import { type GgufHeader, type GgufTensor, readGgufHeader } from "./header.ts"
import { type Architecture, checkpointName } from "./names.ts"
import { ggufTokenizerConfig, ggufTokenizerJson } from "./tokenizer.ts"
import { floatsOf, partOf, unpermuted } from "./views.ts"

/** A tensor's blocks as they lie in the file, rows in the checkpoint's order. */
export interface Blocks {
  readonly dtype: BlockType
  readonly source: Source
  readonly start: number
  readonly end: number
  /** The type of what they were rounded from, where the file says it. */
  readonly from?: DType | undefined
}

/** A GGUF file in the shape of a checkpoint folder as transformers writes it. */
export interface GgufCheckpoint {
  readonly folder: Folder
  readonly files: readonly { readonly name: string; readonly byteLength: number }[]
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly metadata: ReadonlyMap<string, string>
  /** What errors call it. */
  readonly subject: string
}

/**
 * Reads the header of a GGUF file and gives what it holds by the checkpoint's names: norms of Gemma without the 1 that
 * conversion adds, queries and keys of Llama in their own order. No weight is read.
 *
 * @param ignoreKeys keys of the metadata to treat as absent
 * @throws RangeError, TypeError or SyntaxError naming the file and what is wrong with it
 */
export async function openGguf(folder: Folder, file: string, ignoreKeys: readonly string[]): Promise<GgufCheckpoint> {
  const source = await folder.open(file)
  if (!source) throw new RangeError(`${folder.name}: ${clip(file)} is missing, expected that GGUF file`)
  const header = await readGgufHeader(source, file)
  const config = ggufConfig(header, file, ignoreKeys)
  const tensors = [...header.tensors.values()].map((tensor) => readTensor(tensor, source, file, config))
  return {
    folder: folderOf(folder, file, header, config),
    files: [{ name: file, byteLength: source.byteLength }],
    tensors: new Map(tensors.map((tensor) => [tensor.info.name, tensor])),
    metadata: new Map([...header.metadata].filter((entry): entry is [string, string] => isNote(entry))),
    subject: file,
  }
}

/** What a user may have written down about the model. */
function isNote([key, value]: [string, unknown]): boolean {
  return key.startsWith("general.") && typeof value === "string"
}

function readTensor(
  tensor: GgufTensor,
  source: Source,
  file: string,
  { architecture, config }: GgufConfig,
): StoredTensor {
  const { type, shape, start, end } = tensor
  const name = checkpointName(tensor.name, architecture)
  if (name === undefined) {
    const why = tensor.name.startsWith("rope_") ? " (rotary frequencies of Llama 3.1 and later are not supported)" : ""
    throw new RangeError(
      `${file}: ${clip(tensor.name)} is left over, expected no such tensor for ${architecture}${why}`,
    )
  }
  const as = (dtype: TensorInfo["dtype"], source: Source, start = 0, end = source.byteLength): StoredTensor => {
    return { file, source, info: { name, dtype, shape, start, end } }
  }
  if (hasOne(name, architecture)) return as("F32", floatsOf(partOf(source, start, end), type, -1))
  const rotated = architecture === "llama" && /\.self_attn\.[qk]_proj\.weight$/.test(name)
  const stored = rotated ? inOrder(tensor, partOf(source, start, end), config) : undefined
  if (!isBlockType(type)) return stored ? as(type, stored) : as(type, source, start, end)
  const blocks = stored ?? partOf(source, start, end)
  const read = as("F32", floatsOf(blocks, type, 0))
  if (shape.length !== 2) return read // only matrices stay in blocks
  return { ...read, blocks: { dtype: type, source: blocks, start: 0, end: blocks.byteLength } }
}

/**
 * Gemma's norms multiply by 1 + weight; conversion stores that sum, in float32. Taking 1 away again is exact for sums of 0.5
 * and above, and otherwise rounded once, at most 2^-24 away for sums above -1.
 */
function hasOne(name: string, architecture: Architecture): boolean {
  return architecture !== "llama" && /norm\.weight$/.test(name)
}

function inOrder({ shape }: GgufTensor, stored: Source, config: GgufConfig["config"]): Source {
  const [rows, headDim] = [shape[0]!, config.head_dim as number]
  if (rows % headDim !== 0 || headDim % 2 !== 0) return stored // refused for its shape or its width later
  return unpermuted(stored, stored.byteLength / rows, headDim)
}

/** The folder with what the GGUF says as the small files of a checkpoint; of those that lie there, a config.json is not read. */
function folderOf(folder: Folder, file: string, header: GgufHeader, { config, generation }: GgufConfig): Folder {
  const made: Readonly<Record<string, () => unknown>> = {
    "config.json": () => config,
    "generation_config.json": () => generation,
    "tokenizer.json": () => ggufTokenizerJson(header, file),
    "tokenizer_config.json": () => ggufTokenizerConfig(header, file),
  }
  return {
    name: `${folder.name}/${file}`,
    async open(name) {
      const beside = name === "config.json" ? undefined : await folder.open(name)
      if (beside || !Object.hasOwn(made, name)) return beside
      const json = made[name]!()
      return json === undefined ? undefined : memorySource(new TextEncoder().encode(JSON.stringify(json)), name)
    },
    close: async () => folder.close?.(),
  }
}
