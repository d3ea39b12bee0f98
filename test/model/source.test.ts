import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import {
  blobSource,
  type Folder,
  filesFolder,
  memoryFolder,
  memorySource,
  readJson,
  readText,
  type Source,
  urlFolder,
  urlSource,
} from "../../src/model/source.ts"
import { fileSource, pathFolder } from "../../src/platform/node_files.ts"

const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 7 + (i >> 8)) & 255)
let directory: string
let server: Server
let base: string
let requests: string[] = []

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "gemlet-"))
  await writeFile(join(directory, "data.bin"), bytes)
  server = createServer(answer)
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  await rm(directory, { recursive: true })
  server.closeAllConnections()
  server.close()
})

/** `/<manner>/data.bin` serves the bytes, in one of several manners. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  requests.push(`${request.method} ${request.url} ${request.headers.range ?? ""}`.trim())
  const [, manner, name] = new URL(request.url!, base).pathname.split("/")
  const [, from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? "") ?? []
  const start = Number(from ?? 0)
  const end = Math.min(Number(to ?? bytes.length - 1) + 1, bytes.length)
  const range = `bytes ${start}-${end - 1}/${bytes.length}`
  const later = start > 0
  if (manner === "empty") return void response.writeHead(416, { "content-range": "bytes */0" }).end()
  if (manner === "private" && request.headers.authorization !== "Bearer key") return void response.writeHead(401).end()
  if (name !== "data.bin") return void response.writeHead(404).end("no such file")
  if (manner === "whole" || (manner === "forgets" && later)) return void response.writeHead(200).end(bytes)
  if (manner === "shifted" && later) {
    response.writeHead(206, { "content-range": `bytes ${start - 1}-${end - 2}/${bytes.length}` })
    return void response.end(bytes.subarray(start - 1, end - 1))
  }
  if (manner === "short" && later) return void response.writeHead(206, { "content-range": range }).end("abc")
  if (manner === "long" && later) return void response.writeHead(206, { "content-range": range }).end(bytes)
  if (manner === "grows" && later) {
    response.writeHead(206, { "content-range": range.replace("/200000", "/200001") })
    return void response.end(bytes.subarray(start, end))
  }
  if (manner === "changes") response.setHeader("etag", later ? '"b"' : '"a"')
  if (manner === "breaks" && later) {
    response.writeHead(206, { "content-range": range, "content-length": end - start })
    response.write(bytes.subarray(start, start + 10))
    return void setTimeout(() => response.destroy(), 20)
  }
  if (manner === "hidden") {
    if (request.method === "HEAD") return void response.writeHead(200, { "content-length": bytes.length }).end()
    return void response.writeHead(206).end(bytes.subarray(start, end))
  }
  response.writeHead(206, { "content-range": range }).end(bytes.subarray(start, end))
}

const sources: [string, () => Promise<Source>][] = [
  ["memorySource", async () => memorySource(bytes)],
  ["memorySource of a part", async () => memorySource(new Uint8Array([...bytes.subarray(0, 9), ...bytes]).subarray(9))],
  ["blobSource", async () => blobSource(new Blob([bytes]))],
  ["fileSource", () => fileSource(join(directory, "data.bin"))],
  ["urlSource", () => urlSource(`${base}/ranges/data.bin`)],
  ["urlSource without Content-Range", () => urlSource(`${base}/hidden/data.bin`)],
  ["urlSource without ranges", () => urlSource(`${base}/whole/data.bin`)],
]

describe.each(sources)("%s", (_, open) => {
  test("gives any range, and its length", async () => {
    const source = await open()
    expect(source.byteLength).toBe(bytes.byteLength)
    const ranges = [
      [0, 8],
      [5, 5],
      [65_530, 65_540],
      [65_536, 65_537],
      [100_001, 199_999],
      [0, 200_000],
      [200_000, 200_000],
    ]
    for (const [start, end] of ranges as [number, number][]) {
      const slice = await source.slice(start, end)
      expect(slice).toBeInstanceOf(ArrayBuffer)
      expect(Buffer.compare(Buffer.from(slice), bytes.subarray(start, end))).toBe(0)
    }
    if ("close" in source) await (source.close as () => Promise<void>)()
  })

  test("refuses a range outside, naming both values", async () => {
    const source = await open()
    for (const [start, end] of [
      [-1, 4],
      [8, 4],
      [0, 200_001],
      [0.5, 4],
      [0, Number.NaN],
      [300_000, 300_001],
    ]) {
      const error = await source.slice(start!, end!).catch((error) => error)
      expect(error).toBeInstanceOf(RangeError)
      expect(error.message).toContain(`range is [${start}, ${end}), expected one inside [0, 200000)`)
    }
    if ("close" in source) await (source.close as () => Promise<void>)()
  })
})

describe("urlSource", () => {
  test("reads the first bytes once and others as they are asked for", async () => {
    requests = []
    const source = await urlSource(`${base}/ranges/data.bin`)
    await source.slice(0, 8)
    await source.slice(8, 4096)
    expect(requests).toEqual(["GET /ranges/data.bin bytes=0-65535"])
    await source.slice(70_000, 70_010)
    expect(requests.slice(1)).toEqual(["GET /ranges/data.bin bytes=70000-70009"])
  })

  test("takes an empty file", async () => {
    const source = await urlSource(`${base}/empty/data.bin`)
    expect(source.byteLength).toBe(0)
    expect((await source.slice(0, 0)).byteLength).toBe(0)
  })

  test("sends its headers", async () => {
    await expect(urlSource(`${base}/private/data.bin`)).rejects.toThrow(
      "status is 401, expected 206 (is a token needed?)",
    )
    const source = await urlSource(`${base}/private/data.bin`, { headers: { authorization: "Bearer key" } })
    expect(source.byteLength).toBe(bytes.byteLength)
  })

  test.each([
    ["forgets", "status is 200, expected 206 (the server ignores range requests)"],
    ["shifted", "range starts at 99999, expected 100000"],
    ["short", "body is 3 bytes, expected 50"],
    ["long", "body is over 50 bytes, expected at most that"],
    ["grows", "length is now 200001, expected 200000 (did the file change?)"],
    ["changes", 'etag is now "b", expected "a" (did the file change?)'],
    ["breaks", "connection broke after"],
  ])("never gives wrong bytes when a server %s", async (manner, message) => {
    const source = await urlSource(`${base}/${manner}/data.bin`)
    const error = await source.slice(100_000, 100_050).catch((error) => error)
    expect(error).toBeInstanceOf(Error)
    expect(error.message).toContain(`${base}/${manner}/data.bin: ${message}`)
  })

  test("refuses a missing file, a large one without ranges, and an unreachable server", async () => {
    await expect(urlSource(`${base}/ranges/other.bin`)).rejects.toThrow("status is 404, expected 206")
    const large = async () => new Response("x", { status: 200, headers: { "content-length": "536000000" } })
    const message = "u: status is 200 for 536000000 bytes, expected 206 (the server ignores range requests)"
    await expect(urlSource("u", { fetch: large })).rejects.toThrow(message)
    const endless = async () => {
      const pull = (controller: ReadableStreamDefaultController) => controller.enqueue(new Uint8Array(2 ** 20))
      return new Response(new ReadableStream({ pull }), { status: 200 })
    }
    await expect(urlSource("u", { fetch: endless })).rejects.toThrow("u: body is over 67108864 bytes")
    const down = async () => {
      throw new TypeError("refused")
    }
    await expect(urlSource("u", { fetch: down })).rejects.toThrow("u: request failed (refused)")
  })
})

const text = (value: string) => new TextEncoder().encode(value)

const folders: [string, () => Promise<Folder>][] = [
  ["memoryFolder", async () => memoryFolder("m", new Map([["data.bin", bytes]]))],
  ["filesFolder", async () => filesFolder([new File([bytes], "data.bin")])],
  ["pathFolder", async () => pathFolder(directory)],
  ["urlFolder", async () => urlFolder(`${base}/ranges`)],
]

describe.each(folders)("%s", (_, open) => {
  test("opens what is there and gives undefined for the rest", async () => {
    const folder = await open()
    expect((await folder.open("data.bin"))!.byteLength).toBe(bytes.byteLength)
    expect(await folder.open("other.bin")).toBeUndefined()
    expect(await folder.open("data.bin.d/other.bin")).toBeUndefined()
    await folder.close?.()
  })

  test("refuses names that leave it", async () => {
    const folder = await open()
    for (const name of ["../data.bin", "/etc/passwd", "a/../../b", "a//b", "", ".", "a\\b", "C:x", "file:x", "a\0b"]) {
      const error = await folder.open(name).catch((error) => error)
      expect(error).toBeInstanceOf(RangeError)
      expect(error.message).toContain(`file name is ${JSON.stringify(name)}, expected a name inside the folder`)
    }
  })
})

describe("pathFolder", () => {
  test("follows symbolic links, as the Hugging Face cache is made of them", async () => {
    await mkdir(join(directory, "snapshot"))
    await symlink(join(directory, "data.bin"), join(directory, "snapshot", "model.bin"))
    const folder = pathFolder(join(directory, "snapshot"))
    expect((await folder.open("model.bin"))!.byteLength).toBe(bytes.byteLength)
    await folder.close!()
  })

  test("refuses a directory in a file's place", async () => {
    await mkdir(join(directory, "config.json"))
    const folder = pathFolder(directory)
    await expect(folder.open("config.json")).rejects.toThrow("it is a directory or a device, expected a file")
    await folder.close!()
  })

  test("opens each file once, and again after close", async () => {
    const folder = pathFolder(directory)
    const first = await folder.open("data.bin")
    expect(await folder.open("data.bin")).toBe(first)
    await folder.close!()
    await expect(first!.slice(0, 1)).rejects.toThrow()
    expect((await (await folder.open("data.bin"))!.slice(0, 1)).byteLength).toBe(1)
    await folder.close!()
  })
})

describe("filesFolder", () => {
  const file = (path: string) => {
    return Object.defineProperty(new File([path], path.split("/").at(-1)!), "webkitRelativePath", { value: path })
  }

  test("strips the directory that was picked", async () => {
    const folder = filesFolder([file("gemma/config.json"), file("gemma/adapter/a.bin")])
    expect(folder.name).toBe("gemma")
    expect(await readText(folder, "config.json")).toBe("gemma/config.json")
    expect(await readText(folder, "adapter/a.bin")).toBe("gemma/adapter/a.bin")
  })

  test("keeps paths that share no directory", async () => {
    const folder = filesFolder([file("a/config.json"), file("b/config.json")])
    expect(await readText(folder, "b/config.json")).toBe("b/config.json")
  })
})

test("urlFolder keeps the query and encodes names", async () => {
  requests = []
  const folder = urlFolder(`${base}/ranges/?download=true`)
  expect((await folder.open("data.bin"))!.byteLength).toBe(bytes.byteLength)
  await folder.open("sub folder/a#b.json")
  expect(requests[0]).toContain("GET /ranges/data.bin?download=true ")
  expect(requests[1]).toContain("GET /ranges/sub%20folder/a%23b.json?download=true ")
})

describe("readText and readJson", () => {
  const files = { "a.json": text('{"a":[1]}'), "b.json": text('{"a":'), "c.txt": Uint8Array.of(0x61, 0xff) }
  const folder = memoryFolder("m", new Map(Object.entries(files)))

  test("read what is there and give undefined for the rest", async () => {
    expect(await readText(folder, "a.json")).toBe('{"a":[1]}')
    expect(await readJson(folder, "a.json")).toEqual({ a: [1] })
    expect(await readText(folder, "d.json")).toBeUndefined()
    expect(await readJson(folder, "d.json")).toBeUndefined()
  })

  test("name the file that is malformed, in another encoding or too long", async () => {
    const malformed = (await readJson(folder, "b.json").catch((error: Error) => error)) as Error
    expect(malformed).toBeInstanceOf(SyntaxError)
    expect(malformed.message).toMatch(/^b\.json: text is malformed, expected JSON \(/)
    const encoded = await readText(folder, "c.txt").catch((error) => error)
    expect(encoded).toBeInstanceOf(SyntaxError)
    expect(encoded.message).toBe("c.txt: text is in another encoding, expected UTF-8")
    const source = { ...memorySource(new Uint8Array(0)), byteLength: 2 ** 30 }
    const large = await readText({ name: "m", open: async () => source }, "e.json").catch((error) => error)
    expect(large).toBeInstanceOf(RangeError)
    expect(large.message).toBe("e.json: length is 1073741824 bytes, expected at most 67108864")
  })
})
