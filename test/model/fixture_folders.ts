import { readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { SafetensorsEntry } from "../../src/model/safetensors.ts"
import { writeSafetensors } from "../../src/model/safetensors.ts"

export type Files = Map<string, Uint8Array>

/** A path of the repository. */
export function repositoryPath(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url))
}

/** The checkpoint files of a repository folder, in memory. Golden numbers are left on disk. */
export function readFolder(path: string): Files {
  const directory = repositoryPath(path)
  const names = readdirSync(directory).filter(
    (name) => statSync(join(directory, name)).isFile() && !name.startsWith("golden"),
  )
  return new Map(names.map((name) => [name, new Uint8Array(readFileSync(join(directory, name)))]))
}

export function readGolden(name: string): Files {
  return readFolder(`test/fixtures/goldens/${name}`)
}

export function fixtureJson(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(repositoryPath(`test/fixtures/${path}`), "utf8"))
}

export function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

/** The same files, with config.json changed. */
export function withConfig(files: Files, change: Record<string, unknown>): Files {
  const config = JSON.parse(new TextDecoder().decode(files.get("config.json")))
  return new Map(files).set("config.json", json({ ...config, ...change }))
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const chunk of chunks) parts.push(chunk)
  return new Uint8Array(Buffer.concat(parts))
}

export async function safetensors(entries: readonly SafetensorsEntry[]): Promise<Uint8Array> {
  return await collect(writeSafetensors(entries))
}

/** A safetensors file with any header text, right or wrong. */
export function rawSafetensors(header: string | Uint8Array, data = new Uint8Array(0), length?: bigint): Uint8Array {
  const text = typeof header === "string" ? new TextEncoder().encode(header) : header
  const bytes = new Uint8Array(8 + text.byteLength + data.byteLength)
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(text.byteLength), true)
  bytes.set(text, 8)
  bytes.set(data, 8 + text.byteLength)
  return bytes
}

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
