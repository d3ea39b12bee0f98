import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { downloadModel } from "../../src/hub/download.ts"
import { hubFolder } from "../../src/hub/hub_folder.ts"
import { hubLocation } from "../../src/hub/model_id.ts"
import { filesFolder, memoryStore, merge, open } from "../../src/index.ts"
import { openCheckpoint } from "../../src/model/checkpoint.ts"
import { createTokenizer } from "../../src/tokenizer/tokenizer.ts"
import { expectDocumented } from "../cli/documented.ts"
import { gemlet, json as report } from "../cli/run.ts"
import { ggufOf, readPlain, tokenizerMetadata } from "../helpers/gguf_conversion.ts"
import { dequantize, quantize } from "../helpers/gguf_writer.ts"
import { cacheDir, download, hub, useHub } from "../hub/workspace.ts"
import { fixtureJson, readFolder } from "../model/fixture_folders.ts"

const STORIES = readFolder("test/fixtures/stories260K")
const TOKENIZER = tokenizerMetadata(fixtureJson("stories260K/tokenizer.json") as never, { gemma: false })
const FILE = ggufOf(STORIES, "Q8_0", TOKENIZER)
const OTHER = ggufOf(STORIES, "F32", TOKENIZER)

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "gemlet-gguf-"))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** What a place gives: the file's name and the type of a matrix in it. */
async function found(location: Parameters<typeof open>[0]) {
  const { files, weights, close } = await open(location)
  await close()
  return [files[0]!.name, weights.get("layers.0.attention.q")!.blocks?.dtype ?? "F32"]
}

describe("on the disk", () => {
  test("a path to a GGUF, and a folder with one and an image projector, are that model", async () => {
    await writeFile(join(folder, "a.gguf"), FILE)
    await writeFile(join(folder, "mmproj-a.gguf"), "no text model")
    expect(await found(join(folder, "a.gguf"))).toEqual(["a.gguf", "Q8_0"])
    expect(await found(folder)).toEqual(["a.gguf", "Q8_0"])
  })

  test("of several in a folder one must be named; safetensors win unless one is", async () => {
    await writeFile(join(folder, "a.gguf"), FILE)
    await writeFile(join(folder, "b.GGUF"), OTHER)
    await expect(open(folder)).rejects.toThrow(
      `${folder}: GGUF files are a.gguf, b.GGUF, expected one; choose it as ${folder}/NAME.gguf`,
    )
    expect(await found(join(folder, "b.GGUF"))).toEqual(["b.GGUF", "F32"])
    for (const name of ["config.json", "model.safetensors"]) await writeFile(join(folder, name), STORIES.get(name)!)
    expect(await found(folder)).toEqual(["model.safetensors", "F32"])
    expect(await found(join(folder, "a.gguf"))).toEqual(["a.gguf", "Q8_0"])
  })

  test("another file, an empty folder and a missing file are refused by name", async () => {
    await writeFile(join(folder, "a.bin"), FILE)
    await expect(open(join(folder, "a.bin"))).rejects.toThrow(
      /a\.bin: is a file, expected a checkpoint folder or a GGUF/,
    )
    await expect(open(folder)).rejects.toThrow(/config\.json is missing/)
    await expect(open(join(folder, "a.gguf"))).rejects.toThrow(/a\.gguf: no such folder, expected/)
  })

  test("gemlet inspect shows a GGUF as it is stored", async () => {
    const path = join(folder, "a.gguf")
    await writeFile(path, FILE)
    const printed = report(await gemlet(["inspect", "--model", path, "--tensors", "--json"]))
    expectDocumented("inspect", printed, ["config", "weights.byDtype", "sampling"])
    const q = printed.tensors.find(({ name }: { name: string }) => name === "model.layers.0.self_attn.q_proj.weight")
    expect(q).toMatchObject({ dtype: "Q8_0", shape: [64, 64], bytes: 128 * 34, file: "a.gguf", used: true })
    const { stdout } = await gemlet(["inspect", "--model", path])
    expect(stdout).toMatch(/^.*a\.gguf: llama, 260,032 parameters, .* in Q8_0, F32$/m)
    expect(stdout).toMatch(/weights in Q8_0 .* KiB {2}31 tensors/)
  })
})

test("files that a user picked are that model", async () => {
  expect(await found(filesFolder([new File([new Uint8Array(FILE)], "a.gguf")]))).toEqual(["a.gguf", "Q8_0"])
})

test("merge makes a checkpoint folder of a GGUF, its matrices as the blocks stand for them", async () => {
  const store = memoryStore()
  await merge(filesFolder([new File([new Uint8Array(FILE)], "a.gguf")]), [], store)
  const merged = await openCheckpoint(store)
  expect(merged.files.map(({ name }) => name)).toEqual(["model.safetensors"])
  const bytes = await (await store.open("model.safetensors"))!.slice(0, merged.files[0]!.byteLength)
  const values = new Map(readPlain(new Uint8Array(bytes)).map((tensor) => [tensor.name, tensor.values]))
  for (const { name, shape, values: written } of readPlain(STORIES.get("model.safetensors")!)) {
    const blocks = shape.length === 2 && shape[1]! % 32 === 0
    expect(values.get(name), name).toEqual(blocks ? dequantize("Q8_0", quantize("Q8_0", written)) : written)
  }
  const text = await (await store.open("tokenizer.json"))!.slice(0, (await store.open("tokenizer.json"))!.byteLength)
  const tokenizer = createTokenizer({ tokenizerJson: JSON.parse(new TextDecoder().decode(text)) })
  expect(tokenizer.decode(tokenizer.encode("Once upon a time"))).toBe("Once upon a time")
})

describe("on a web server", () => {
  let server: Server
  let url: string
  beforeEach(async () => {
    server = createServer((request, response) => {
      const [, from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? "") ?? []
      if (!request.url?.startsWith("/owner/a%20b.gguf?download=true")) response.writeHead(404).end()
      else {
        const part = FILE.subarray(Number(from), Math.min(Number(to) + 1, FILE.length))
        const range = `bytes ${from}-${Number(from) + part.length - 1}/${FILE.length}`
        response.writeHead(206, { "content-range": range, "content-length": part.length }).end(part)
      }
    })
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/owner`
  })
  afterEach(() => new Promise((done) => server.close(done)))

  test("the URL of a GGUF is that model", async () => {
    expect(await found(`${url}/a%20b.gguf?download=true`)).toEqual(["a b.gguf", "Q8_0"])
    await expect(open(`${url}/c.gguf`)).rejects.toThrow(`${url}: c.gguf is missing, expected that GGUF file`)
  })
})

describe("on the Hub", () => {
  useHub()
  beforeEach(() => {
    hub.files.clear()
    hub.files.set("config.json", Buffer.from('{"model_type": "gemma3"}')) // as such repositories have it
    hub.files.set("q8.gguf", Buffer.from(FILE))
  })

  test.each([
    ["google/gemma", { id: "google/gemma", file: undefined }],
    ["google/gemma/Q4.gguf", { id: "google/gemma", file: "Q4.gguf" }],
    ["google/gemma/q4.bin", undefined],
    ["google/../q4.gguf", undefined],
    ["a/b/c/q4.gguf", undefined],
  ])("hubLocation of %s", (text, expected) => expect(hubLocation(text)).toEqual(expected))

  test("downloadModel takes the only GGUF, and finds it again without a request for a file", async () => {
    const snapshot = await download()
    expect(await found(snapshot)).toEqual(["q8.gguf", "Q8_0"])
    hub.log.length = 0
    expect(await download()).toBe(snapshot)
    expect(hub.fileRequests).toEqual([])
    hub.goOffline()
    expect(await download()).toBe(snapshot)
  })

  test("downloadModel names several and takes the one that is asked for", async () => {
    hub.files.set("f32.gguf", Buffer.from(OTHER))
    await expect(download()).rejects.toThrow(
      `${hub.id}: GGUF files are f32.gguf, q8.gguf, expected one; choose it as ${hub.id}/NAME.gguf`,
    )
    await expect(download({ file: "q4.gguf" })).rejects.toThrow(
      /q4\.gguf is missing; its GGUF files are q8\.gguf, f32\.gguf/,
    )
    hub.log.length = 0
    const snapshot = await download({ file: "f32.gguf" })
    expect(await found(snapshot)).toEqual(["f32.gguf", "F32"])
    expect(hub.sent("q8.gguf")).toBe(0)
    await download({ file: "q8.gguf" })
    expect(await found(join(snapshot, "q8.gguf"))).toEqual(["q8.gguf", "Q8_0"])
    hub.log.length = 0
    await downloadModel(hub.id, { endpoint: hub.endpoint, cacheDir, revision: hub.commit, file: "q8.gguf" })
    expect(hub.log).toEqual([])
  })

  test("hubFolder reads one by ranges", async () => {
    expect(await found(hubFolder(hub.id, { endpoint: hub.endpoint }))).toEqual(["q8.gguf", "Q8_0"])
    hub.files.set("f32.gguf", Buffer.from(OTHER))
    const named = hubFolder(hub.id, { endpoint: hub.endpoint, file: "f32.gguf" })
    expect(await found(named)).toEqual(["f32.gguf", "F32"])
    await expect(openCheckpoint(hubFolder(hub.id, { endpoint: hub.endpoint }))).rejects.toThrow(/expected one; choose/)
  })
})
