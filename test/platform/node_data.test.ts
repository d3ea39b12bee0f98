import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, test } from "vitest"
import { dataFiles } from "../../src/platform/node_data.ts"
import { isDataFile, openDataset } from "../../src/train/dataset.ts"

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "gemlet-data-"))
  await mkdir(join(folder, "b", "c"), { recursive: true })
  const files = ["z.txt", "a.jsonl", "b/c/d.md", "b/e.TXT", "notes.csv", "README.md", "LICENSE.txt", ".hidden.txt"]
  for (const file of files) await writeFile(join(folder, file), file === "a.jsonl" ? '{"text":"a"}\n' : file)
})
afterEach(() => rm(folder, { recursive: true }))

test("dataFiles finds a folder's data by name, and files as they are given", async () => {
  const names = async (...paths: string[]) => (await dataFiles(paths, isDataFile)).map(({ name }) => name)
  const all = ["a.jsonl", "b/c/d.md", "b/e.TXT", "z.txt"].map((name) => join(folder, name))
  expect(await names(folder)).toEqual(all)
  const given = [join(folder, "z.txt"), join(folder, "README.md")]
  expect(await names(...given, join(folder, "b"))).toEqual([...given, ...all.slice(1, 3)])
})

test("dataFiles gives sources that a dataset can be made of", async () => {
  const dataset = await openDataset(await dataFiles([folder], isDataFile))
  expect(dataset.count).toBe(4)
  expect(dataset.where(0)).toBe(`${join(folder, "a.jsonl")}:1`)
  expect(await dataset.read(2)).toEqual({ text: "b/e.TXT" })
})

test("dataFiles refuses what is not there, and a file that changes is noticed", async () => {
  await expect(dataFiles([join(folder, "none")], isDataFile)).rejects.toThrow(
    `${join(folder, "none")}: file is missing, expected a file or a folder`,
  )
  await mkdir(join(folder, "empty"))
  await expect(dataFiles([join(folder, "empty")], isDataFile)).rejects.toThrow(
    `${join(folder, "empty")}: folder has no file of data, expected at least one`,
  )
  const path = join(folder, "z.txt")
  const [file] = await dataFiles([path], isDataFile)
  expect(new TextDecoder().decode(await file!.source.slice(0, 1))).toBe("z")
  await expect(file!.source.slice(0, 6)).rejects.toThrow(`${path}: range is [0, 6), expected one inside [0, 5)`)
  await writeFile(path, "longer than before")
  await expect(file!.source.slice(0, 1)).rejects.toThrow(`${path}: file is 18 bytes, expected 5 as before`)
})
