import { show } from "../model/keys.ts"
import type { Tokenizer } from "../tokenizer/tokenizer.ts"
import { type BatchState, checkState, type Made, type Total } from "./batch_state.ts"
import { exampleOf, hasTarget } from "./examples.ts"
import { enqueue, lastRow, nextRow, PACKINGS, type Packer, type Packing, type Row } from "./packing.ts"
import { expectSeed, permutation } from "./permutation.ts"
import { BadRecords, type Dataset, type Skipped } from "./records.ts"

export interface BatchOptions {
  /** Rows of a batch. */
  readonly rows: number
  /** Tokens that a row may have. */
  readonly context: number
  /** The id that ends a text. */
  readonly eos: number
  /** Default `documents`. */
  readonly packing?: Packing
  /** Each epoch in another order. Default true. */
  readonly shuffle?: boolean
  /** Decides the orders and the held-out records. Default 0. */
  readonly seed?: number
  /** Records never trained on: how many, which part of all (between 0 and 1), or other data. Default none. */
  readonly heldOut?: number | Dataset
  /** Which of the records are held out: any, by the seed, or the last. Default `random`. */
  readonly heldOutFrom?: "random" | "end"
  /** Go on after a record that the chat template refuses, and count it. Default false: it is an error. */
  readonly skipBad?: boolean
}

export interface Batch {
  readonly rows: readonly Row[]
}

/** Streams of the seed: one chooses the held-out records, epoch e is shuffled by stream e + 1. */
const HELD_OUT_STREAM = 0

/**
 * Rows for training, epoch after epoch without end. A batch goes on with the next epoch's rows where one epoch's end.
 *
 * @throws RangeError or TypeError naming the option that cannot be
 */
export function createBatches(dataset: Dataset, tokenizer: Tokenizer, options: BatchOptions): Batches {
  return new Batches(dataset, tokenizer, checkOptions(options))
}

/** Batches of one dataset. Made by `createBatches`. */
export class Batches implements AsyncIterable<Batch> {
  /** How many records an epoch goes through. */
  readonly records: number
  /** How many records are held out. */
  readonly heldOutRecords: number
  readonly #options: Required<BatchOptions>
  readonly #dataset: Dataset
  readonly #heldOut: Dataset
  readonly #tokenizer: Tokenizer
  readonly #training: Uint32Array
  readonly #scored: Uint32Array
  readonly #made: Made
  readonly #bad: BadRecords
  #state: BatchState
  #order: { epoch: number; records: Uint32Array } | undefined
  #pending: Promise<unknown> = Promise.resolve()

  constructor(dataset: Dataset, tokenizer: Tokenizer, options: Required<BatchOptions>) {
    const { heldOut } = options
    this.#options = options
    this.#dataset = dataset
    this.#tokenizer = tokenizer
    this.#heldOut = typeof heldOut === "number" ? dataset : heldOut
    const split = typeof heldOut === "number" ? splitRecords(dataset, heldOut, options) : undefined
    this.#training = split?.training ?? numbersTo(dataset.count)
    this.#scored = split?.heldOut ?? numbersTo(this.#heldOut.count)
    this.records = this.#training.length
    this.heldOutRecords = this.#scored.length
    this.#made = madeOf(dataset, options)
    this.#bad = new BadRecords(options.skipBad)
    const total = { rows: 0, records: 0, dropped: 0, truncated: 0, bad: 0 }
    this.#state = { made: this.#made, epoch: 0, next: 0, epochRows: 0, waiting: [], row: [], total }
  }

  /** Finished epochs, a fraction of the next one included: how often the records have been read. */
  get epoch(): number {
    return this.#state.epoch + this.#state.next / this.records
  }

  /** What has gone through the batches given so far. */
  get total(): Readonly<Total> {
    return this.#state.total
  }

  /** Records that the chat template refused, held-out ones among them. */
  get skipped(): Skipped {
    return this.#bad
  }

  /** The next batch. Calls wait for one another. */
  next(): Promise<Batch> {
    const batch = this.#pending.then(() => this.#next())
    this.#pending = batch.catch(() => undefined)
    return batch
  }

  [Symbol.asyncIterator](): AsyncIterator<Batch> {
    return { next: async () => ({ done: false, value: await this.next() }) }
  }

  /** Where the next batch begins, as plain JSON. A batch still being made is not part of it. */
  state(): BatchState {
    return structuredClone(this.#state)
  }

  /**
   * Goes on where a state was taken, in this process or another: the batches after it are the same.
   *
   * @throws RangeError when it is of other data or other options
   */
  restore(state: BatchState): void {
    this.#state = checkState(state, this.#made, this.records)
  }

  /** The held-out records' rows, once, packed as for training, always the same. */
  async *heldOutRows(): AsyncGenerator<Row, void, undefined> {
    const { packing, context } = this.#options
    const packer: Packer = { waiting: [], row: [] }
    const total = { ...this.#state.total }
    let rows = 0
    for (const index of this.#scored) {
      await this.#read(this.#heldOut, index, packer, total)
      for (let row = nextRow(packer, packing, context); row; row = nextRow(packer, packing, context)) {
        if (!row.some(hasTarget)) continue
        rows++
        yield row
      }
    }
    const row = lastRow(packer, packing)
    if (row) yield row
    else if (rows === 0 && this.#scored.length > 0) throw noRow("held-out records", this.#heldOut, this.#options)
  }

  /** Works on a copy of the state, so that a batch that fails changes nothing. */
  async #next(): Promise<Batch> {
    const { waiting, row, total } = this.#state
    const state = { ...this.#state, waiting: [...waiting], row: [...row], total: { ...total } }
    const rows: Row[] = []
    while (rows.length < this.#options.rows) rows.push(await this.#row(state))
    this.#state = state
    return { rows }
  }

  async #row(state: BatchState): Promise<Row> {
    const { packing, context } = this.#options
    for (;;) {
      let row = nextRow(state, packing, context)
      if (!row && state.next < this.records) {
        await this.#read(this.#dataset, this.#orderOf(state.epoch)[state.next++]!, state, state.total)
        continue
      }
      const ended = row === undefined
      row ??= lastRow(state, packing)
      const usable = row?.some(hasTarget)
      if (usable) {
        state.epochRows++
        state.total.rows++
      } else if (row) {
        state.total.dropped++ // a stretch of a stream, in a prompt longer than a row
      }
      if (ended) {
        if (state.epochRows === 0) throw noRow("records", this.#dataset, this.#options)
        state.epoch++
        state.next = 0
        state.epochRows = 0
      }
      if (row && usable) return row
    }
  }

  async #read(dataset: Dataset, index: number, packer: Packer, total: Total): Promise<void> {
    const { packing, context, eos } = this.#options
    const record = await dataset.read(index)
    total.records++
    const example = this.#bad.attempt(() => exampleOf(record, this.#tokenizer, { eos }, dataset.where(index)))
    if (example) enqueue(packer, example, packing, context, total)
    else total.bad++
  }

  /** The records of an epoch in its order. */
  #orderOf(epoch: number): Uint32Array {
    if (!this.#options.shuffle) return this.#training
    if (this.#order?.epoch !== epoch) {
      const order = permutation(this.records, this.#options.seed, epoch + 1)
      this.#order = { epoch, records: order.map((i) => this.#training[i]!) }
    }
    return this.#order.records
  }
}

function checkOptions(options: BatchOptions): Required<BatchOptions> {
  const { packing = "documents", shuffle = true, seed = 0, heldOut = 0, heldOutFrom = "random" } = options
  const { rows, context, eos, skipBad = false } = options
  expectInteger("rows", rows, 1)
  expectInteger("context", context, 2)
  expectInteger("eos", eos, 0)
  expectSeed("batches", seed)
  if (!PACKINGS.includes(packing)) throw unexpected("packing", packing, PACKINGS.join(", "))
  if (heldOutFrom !== "random" && heldOutFrom !== "end") throw unexpected("heldOutFrom", heldOutFrom, "random or end")
  if (typeof heldOut === "number" && !(heldOut >= 0 && (heldOut < 1 || Number.isSafeInteger(heldOut)))) {
    throw unexpected("heldOut", heldOut, "a number of records, or a part between 0 and 1")
  }
  return { rows, context, eos, packing, shuffle, seed, heldOut, heldOutFrom, skipBad }
}

function expectInteger(name: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) throw unexpected(name, value, `a whole number from ${least}`)
}

function unexpected(name: string, is: unknown, expected: string): RangeError {
  const value = typeof is === "number" ? String(is) : show(is)
  return new RangeError(`batches: ${name} is ${value}, expected ${expected}`)
}

function splitRecords({ name, count }: Dataset, heldOut: number, { seed, heldOutFrom }: Required<BatchOptions>) {
  const kept = heldOut > 0 && heldOut < 1 ? Math.max(1, Math.round(heldOut * count)) : heldOut
  if (kept >= count) {
    throw new RangeError(`batches: heldOut is ${heldOut}, expected some of the ${count} records of ${name} to be left`)
  }
  const order = heldOutFrom === "end" ? numbersTo(count).reverse() : permutation(count, seed, HELD_OUT_STREAM)
  return { heldOut: order.slice(0, kept).sort(), training: order.slice(kept).sort() }
}

function numbersTo(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => i)
}

/** What a state belongs to. `skipBad` decides which records make rows, so it is part of it. */
function madeOf(dataset: Dataset, options: Required<BatchOptions>): Made {
  const { heldOut, ...rest } = options
  const other = typeof heldOut === "number" ? heldOut : heldOut.fingerprint
  return { data: dataset.fingerprint, ...rest, heldOut: other }
}

function noRow(what: string, { name }: Dataset, { packing, context }: Required<BatchOptions>): RangeError {
  const expected =
    packing === "stream" ? `at least one of context ${context} tokens` : "something to predict within the context"
  return new RangeError(`batches: ${what} of ${name} give no row, expected ${expected}`)
}
