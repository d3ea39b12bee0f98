import { expect, test } from "vitest"
import { type Batch, type Batches, type BatchOptions, createBatches } from "../../src/train/batches.ts"
import type { Example } from "../../src/train/examples.ts"
import type { Packing, Row } from "../../src/train/packing.ts"
import { type Dataset, recordsOf } from "../../src/train/records.ts"
import { stories, storyteller } from "../helpers/stories.ts"

const EOS = 1
const tokenizer = storyteller()
const texts = stories(60)
const dataset = recordsOf(texts)
const PACKINGS: Packing[] = ["documents", "stream", "none"]
const options = (more: Partial<BatchOptions> = {}): BatchOptions => ({ rows: 3, context: 48, eos: EOS, ...more })
const tokensOf = (text: string) => [...tokenizer.encode(text), EOS]
const ids = (row: Row) => row.map((segment) => segment.ids)

async function take(batches: Batches, count: number): Promise<Batch[]> {
  const taken: Batch[] = []
  for (let i = 0; i < count; i++) taken.push(await batches.next())
  return taken
}

/** The rows of whole epochs, one row to a batch. */
async function epochs(from: Dataset, more: Partial<BatchOptions>, count = 1): Promise<Row[][]> {
  const batches = createBatches(from, tokenizer, options({ ...more, rows: 1 }))
  const rows: Row[][] = Array.from({ length: count }, () => [])
  for (;;) {
    const [row] = (await batches.next()).rows
    const { epoch, epochRows } = batches.state()
    // A last row of documents ends its epoch.
    const at = epochRows === 0 ? epoch - 1 : epoch
    if (at >= count) return rows
    rows[at]!.push(row!)
  }
}

test("documents are packed greedily in order, long ones in pieces", async () => {
  const long = { text: texts.map(({ text }) => text).join(" ") }
  const records = [...texts.slice(0, 20), long, ...texts.slice(20)]
  const context = 48
  const expected: number[][][] = [[]]
  for (const { text } of records) {
    const all = tokensOf(text)
    for (let at = 0; at < all.length; at += context) {
      const piece = all.slice(at, at + context)
      if (piece.length === 1) continue
      if (expected.at(-1)!.flat().length + piece.length > context) expected.push([])
      expected.at(-1)!.push(piece)
    }
  }
  const [rows] = await epochs(recordsOf(records), { shuffle: false, context })
  expect(rows!.map(ids)).toEqual(expected)
})

test("stream joins all tokens and cuts them into full rows", async () => {
  const all = texts.flatMap(({ text }) => tokensOf(text))
  for (const context of [7, 48, 301]) {
    const expected = Array.from({ length: Math.floor(all.length / context) }, (_, i) => [
      all.slice(i * context, (i + 1) * context),
    ])
    const [first, second] = await epochs(dataset, { packing: "stream", shuffle: false, context }, 2)
    expect(first!.map(ids)).toEqual(expected)
    expect(second!.map(ids)).toEqual(expected)
    // BOS and EOS within a row are to be predicted too.
    for (const [{ ids, labels }] of first! as [Example][]) expect(labels).toEqual(ids)
  }
})

test("none gives each example a row, cut short and counted where it is too long", async () => {
  const batches = createBatches(dataset, tokenizer, options({ packing: "none", shuffle: false, context: 20, rows: 60 }))
  const { rows } = await batches.next()
  expect(rows.map(ids)).toEqual(texts.map(({ text }) => [tokensOf(text).slice(0, 20)]))
  const long = texts.filter(({ text }) => tokensOf(text).length > 20).length
  expect(batches.total).toEqual({ rows: 60, records: 60, dropped: 0, truncated: long, bad: 0 })
  expect(batches.epoch).toBe(1)
})

test("examples without a target, and stretches of a stream without one, are dropped and counted", async () => {
  const question = { messages: [{ role: "user", content: "a" }] }
  const prompt = texts[0]!.text.repeat(20)
  const records = recordsOf([question, { text: "a cat" }, { prompt, completion: "a cat" }])
  const context = 16
  const text = tokensOf("a cat")
  const masked = tokenizer.encode(prompt).map(() => -100)
  const labels = [...masked, ...tokenizer.encode("a cat", { bos: false }), EOS]
  const cut = (all: number[]) => {
    return Array.from({ length: Math.ceil(all.length / context) }, (_, i) => all.slice(i * context, (i + 1) * context))
  }
  const empty = (pieces: number[][]) => pieces.filter((piece) => piece.slice(1).every((label) => label === -100)).length
  const run = async (packing: Packing, rows: number) => {
    const batches = createBatches(records, tokenizer, options({ packing, context, shuffle: false, rows }))
    expect(
      (await batches.next()).rows.every((row) => row.some(({ labels }) => labels.some((label) => label >= 0))),
    ).toBe(true)
    return batches.total
  }
  expect(empty(cut(labels))).toBeGreaterThan(5)
  expect(await run("documents", 1)).toMatchObject({ records: 3, dropped: 1 + empty(cut(labels)), truncated: 0 })
  expect(await run("none", 1)).toMatchObject({ records: 2, dropped: 1, truncated: 0 })
  expect(await run("none", 2)).toMatchObject({ records: 5, dropped: 3, truncated: 1 })
  const full = cut([...text, ...labels]).filter(({ length }) => length === context)
  const scored = full.length - empty(full)
  expect(await run("stream", scored)).toMatchObject({ rows: scored, records: 3, dropped: 1 + empty(full) })
})

test("shuffle gives each epoch all records in another order, the same for the same seed", async () => {
  const textsOf = (rows: Row[]) => rows.map((row) => tokenizer.decode(row[0]!.ids))
  const run = async (seed: number) => (await epochs(dataset, { packing: "none", context: 500, seed }, 3)).map(textsOf)
  const [first, second, third] = await run(4)
  const inOrder = texts.map(({ text }) => text)
  for (const order of [first!, second!, third!]) {
    expect(order).not.toEqual(inOrder)
    expect([...order].sort()).toEqual([...inOrder].sort())
  }
  expect(second).not.toEqual(first)
  expect(third).not.toEqual(second)
  expect(await run(4)).toEqual([first, second, third])
  expect((await run(5))[0]).not.toEqual(first)
})

test("held-out records are never trained on, and their rows are always the same", async () => {
  const read = async (more: Partial<BatchOptions>) => {
    const all = { packing: "none", context: 500, seed: 9, ...more } as const
    const batches = createBatches(dataset, tokenizer, options({ ...all, rows: 1 }))
    const textOf = (row: Row) => tokenizer.decode(row[0]!.ids)
    const scored: string[] = []
    for await (const row of batches.heldOutRows()) scored.push(textOf(row))
    const trained = (await take(batches, 3 * batches.records)).map(({ rows }) => textOf(rows[0]!))
    const again: string[] = []
    for await (const row of batches.heldOutRows()) again.push(textOf(row))
    expect(again).toEqual(scored)
    expect(scored).toHaveLength(batches.heldOutRecords)
    expect(new Set(trained).size).toBe(batches.records)
    return { scored, trained: new Set(trained) }
  }
  const inOrder = texts.map(({ text }) => text)
  const seven = await read({ heldOut: 7 })
  expect(seven.scored).toHaveLength(7)
  expect([...seven.trained, ...seven.scored].sort()).toEqual([...inOrder].sort())
  expect(seven.scored).toEqual(inOrder.filter((text) => seven.scored.includes(text)))
  expect((await read({ heldOut: 7, seed: 10 })).scored).not.toEqual(seven.scored)
  expect((await read({ heldOut: 0.1 })).scored).toHaveLength(6)
  expect((await read({ heldOut: 0.001 })).scored).toHaveLength(1)
  expect((await read({ heldOut: 7, heldOutFrom: "end" })).scored).toEqual(inOrder.slice(-7))
  const other = await read({ heldOut: recordsOf([{ text: "other" }, { text: "data" }]) })
  expect(other.scored).toEqual(["other", "data"])
  expect(other.trained.size).toBe(60)
  expect((await read({})).scored).toEqual([])
})

test("heldOutRows packs as training does", async () => {
  for (const packing of PACKINGS) {
    const batches = createBatches(dataset, tokenizer, options({ packing, heldOut: 20, heldOutFrom: "end" }))
    const rows: Row[] = []
    for await (const row of batches.heldOutRows()) rows.push(row)
    expect([rows]).toEqual(await epochs(recordsOf(texts.slice(-20)), { packing, shuffle: false }))
  }
})

test.each(PACKINGS)("a state restored gives the batches that would have come, with %s", async (packing) => {
  const long = { text: texts.map(({ text }) => text).join(" ") }
  const records = [...texts.slice(0, 10), long, { messages: [{ role: "user", content: "a" }] }, ...texts.slice(10, 20)]
  const make = () =>
    createBatches(recordsOf(records), tokenizer, options({ packing, heldOut: 0.1, seed: 3, context: 33 }))
  const through = make()
  const count = 60
  const states: string[] = []
  const expected: Batch[] = []
  for (let i = 0; i < count; i++) {
    states.push(JSON.stringify(through.state()))
    expected.push(await through.next())
  }
  expect(through.epoch).toBeGreaterThan(2)
  for (let i = 0; i < count; i += 7) {
    const resumed = make()
    resumed.restore(JSON.parse(states[i]!))
    expect(await take(resumed, count - i)).toEqual(expected.slice(i))
    expect(resumed.state()).toEqual(through.state())
    expect(resumed.total).toEqual(through.total)
  }
})

test("restore refuses other data and other options by name", () => {
  const state = createBatches(dataset, tokenizer, options({ heldOut: 3 })).state()
  const restore = (from: Dataset, more: Partial<BatchOptions>, value: unknown = state) =>
    createBatches(from, tokenizer, options({ heldOut: 3, ...more })).restore(value as typeof state)
  restore(dataset, {})
  expect(() => restore(recordsOf(stories(61)), {})).toThrow(
    /batches: state's data is ".*", expected ".*" \(is it other/,
  )
  expect(() => restore(dataset, { context: 64 })).toThrow(
    "batches: state's context is 48, expected 64 as in the options",
  )
  expect(() => restore(dataset, { packing: "none" })).toThrow('state\'s packing is "documents", expected "none"')
  expect(() => restore(dataset, { seed: 1 })).toThrow("state's seed is 0, expected 1")
  expect(() => restore(dataset, { heldOut: dataset })).toThrow("state's heldOut is 3, expected")
  expect(() => restore(dataset, {}, "x")).toThrow('batches: state\'s state is "x", expected an object')
  expect(() => restore(dataset, {}, { ...state, next: 58 })).toThrow(
    "state's next is 58, expected a whole number up to 57",
  )
  expect(() => restore(dataset, {}, { ...state, row: [{ ids: [1], labels: [] }] })).toThrow("state's row is")
})

test("a batch that fails changes nothing, and skipBad goes on", async () => {
  const records = [texts[0], { messages: [{ role: "model", content: "a" }] }, texts[1]]
  const strict = createBatches(recordsOf(records), tokenizer, options({ packing: "none", shuffle: false, rows: 2 }))
  const before = strict.state()
  await expect(strict.next()).rejects.toThrow("records[1]: messages[0] is the model's turn")
  expect(strict.state()).toEqual(before)
  // A row's tokens wait for the next batch, which takes them before it fails.
  const long = recordsOf([{ text: texts.map(({ text }) => text).join(" ") }, records[1]])
  const later = createBatches(long, tokenizer, options({ shuffle: false, rows: 2, context: 300 }))
  for (;;) {
    const state = JSON.stringify(later.state())
    const failed = await later.next().then(
      () => false,
      () => true,
    )
    if (!failed) continue
    expect(JSON.parse(state).waiting.length).toBeGreaterThan(0)
    expect(JSON.stringify(later.state())).toBe(state)
    break
  }
  const lax = createBatches(
    recordsOf(records),
    tokenizer,
    options({ packing: "none", shuffle: false, rows: 2, skipBad: true }),
  )
  expect((await lax.next()).rows).toHaveLength(2)
  expect(lax.total.bad).toBe(1)
  expect(lax.skipped.messages[0]).toContain("records[1]: messages[0] is the model's turn")
})

test("calls of next wait for one another, and batches can be iterated", async () => {
  const expected = await take(createBatches(dataset, tokenizer, options()), 4)
  const batches = createBatches(dataset, tokenizer, options())
  expect(await Promise.all([1, 2, 3, 4].map(() => batches.next()))).toEqual(expected)
  const iterated: Batch[] = []
  for await (const batch of createBatches(dataset, tokenizer, options())) {
    if (iterated.push(batch) === 4) break
  }
  expect(iterated).toEqual(expected)
})

test.each<[Partial<BatchOptions>, string]>([
  [{ rows: 0 }, "batches: rows is 0, expected a whole number from 1"],
  [{ context: 1 }, "batches: context is 1, expected a whole number from 2"],
  [{ context: 2.5 }, "batches: context is 2.5"],
  [{ eos: Number.NaN }, "batches: eos is NaN, expected a whole number from 0"],
  [{ seed: -1 }, "batches: seed is -1"],
  [{ packing: "other" as Packing }, 'batches: packing is "other", expected documents, stream, none'],
  [{ heldOut: 1.5 }, "batches: heldOut is 1.5, expected a number of records, or a part between 0 and 1"],
  [{ heldOut: Number.NaN }, "batches: heldOut is NaN"],
  [{ heldOut: 60 }, "batches: heldOut is 60, expected some of the 60 records of records to be left"],
  [{ heldOutFrom: "start" as "end" }, 'batches: heldOutFrom is "start", expected random or end'],
])("createBatches refuses %o by name", (more, message) => {
  expect(() => createBatches(dataset, tokenizer, options(more))).toThrow(message)
})

test("data that gives no row is refused instead of read for ever", async () => {
  const short = createBatches(dataset, tokenizer, options({ packing: "stream", context: 100_000 }))
  await expect(short.next()).rejects.toThrow(
    "batches: records of records give no row, expected at least one of context",
  )
  const questions = recordsOf([{ messages: [{ role: "user", content: "a" }] }])
  await expect(createBatches(questions, tokenizer, options()).next()).rejects.toThrow("expected something to predict")
  const held = createBatches(dataset, tokenizer, options({ packing: "stream", context: 512, heldOut: 1 }))
  await expect(held.heldOutRows().next()).rejects.toThrow("batches: held-out records of records give no row")
})
