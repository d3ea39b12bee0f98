import type { LanguageModel } from "../session.ts"
import { type Batch, createBatches } from "./batches.ts"
import type { Row } from "./packing.ts"
import { type DataRecord, type Dataset, recordsOf } from "./records.ts"
import { resolveOptions, type TuneOptions } from "./tune_options.ts"

/** Where rows come from. */
export interface BatchSource {
  next(): Promise<Batch>
  /** Where the next batch begins: JSON. */
  state(): unknown
  restore(state: unknown): void
  /** The rows to measure by, always the same. */
  heldOutRows(): AsyncIterable<Row>
}

/**
 * Batches of some data as a run's options ask for them.
 *
 * @throws {RangeError} for options that cannot be, TypeError without a tokenizer
 */
export function batchesOf(lm: LanguageModel, data: Dataset | readonly DataRecord[], options: TuneOptions): BatchSource {
  const { tokenizer, config } = lm
  if (!tokenizer) throw new TypeError(`${lm.name}: tokenizer.json is missing, expected it for text`)
  const { batch, context, packing, shuffle, seed, heldOutFrom } = resolveOptions(options, config.maxPositions).settings
  const dataset = "read" in data ? data : recordsOf(data)
  const { skipBad = false, heldOut = defaultHeldOut(dataset.count) } = options
  const [eos] = config.eos
  if (eos === undefined) throw new RangeError(`${lm.name}: eos_token_id is missing, expected the id that ends a text`)
  const common = { packing, shuffle, seed, heldOut, heldOutFrom, skipBad }
  return createBatches(dataset, tokenizer, { rows: batch, context, eos, ...common })
}

function defaultHeldOut(count: number): number {
  return count < 20 ? 0 : Math.min(64, Math.round(count / 20))
}
