import { once } from "node:events"
import { createReadStream, createWriteStream, existsSync } from "node:fs"
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { constants, homedir } from "node:os"
import { dirname, join } from "node:path"
import { pipeline } from "node:stream/promises"
import { createBrotliDecompress } from "node:zlib"

/** Of the archive's libraries the two that Vulkan needs; the rest is for OpenGL. */
const WANTED = new Set(["libvk_swiftshader.so", "libvulkan.so.1"])

/**
 * Makes SwiftShader, a Vulkan driver that computes on the CPU, the one that Vulkan finds in this process. Its libraries
 * come with the npm package `@sparticuz/chromium`; they are unpacked once into the user's cache folder.
 *
 * @throws {Error} when the package is not installed (it is optional) or cannot be unpacked
 */
export async function installSwiftShader(): Promise<void> {
  const folder = await unpack()
  // The loader's two names for the same list: the older one is read by every version.
  process.env.VK_ICD_FILENAMES = join(folder, "icd.json")
  process.env.VK_DRIVER_FILES = process.env.VK_ICD_FILENAMES
  try {
    // Where the system has no Vulkan loader: map this one, which Dawn then finds under its name. Node complains that it
    // is no addon, but RTLD_NODELETE keeps it mapped.
    const RTLD_NODELETE = 0x1000
    const flags = constants.dlopen.RTLD_NOW | RTLD_NODELETE
    process.dlopen({ exports: {} } as NodeJS.Module, join(folder, "libvulkan.so.1"), flags)
  } catch {
    // Expected: it is a plain library.
  }
}

/** Whether the system has a Vulkan loader. */
export function hasVulkanLoader(): boolean {
  try {
    process.dlopen({ exports: {} } as NodeJS.Module, "libvulkan.so.1")
  } catch (error) {
    return /did not self-register/.test((error as Error).message) // Node's complaint about a library that it could open
  }
  return true
}

async function unpack(): Promise<string> {
  const require = createRequire(import.meta.url)
  const entry = require.resolve("@sparticuz/chromium")
  const root = entry.slice(0, entry.lastIndexOf(join("@sparticuz", "chromium")) + join("@sparticuz", "chromium").length)
  const { version } = require(join(root, "package.json")) as { version: string }
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache")
  const folder = join(cache, "gemlet", `swiftshader-${version}-${process.arch}`)
  if (existsSync(join(folder, "icd.json"))) return folder
  await mkdir(dirname(folder), { recursive: true })
  const temporary = await mkdtemp(`${folder}-`)
  try {
    const { extract } = await import("tar-stream")
    const archive = extract()
    const writing: Promise<unknown>[] = []
    archive.on("entry", (header, stream, next) => {
      if (!WANTED.has(header.name)) {
        stream.resume()
        stream.on("end", next)
        return
      }
      const file = createWriteStream(join(temporary, header.name), { mode: 0o755 })
      writing.push(once(file, "close"))
      stream.pipe(file)
      stream.on("end", next)
    })
    await pipeline(createReadStream(join(root, "bin", "swiftshader.tar.br")), createBrotliDecompress(), archive)
    await Promise.all(writing)
    const library = join(folder, "libvk_swiftshader.so")
    const icd = { file_format_version: "1.0.0", ICD: { library_path: library, api_version: "1.1.0" } }
    await writeFile(join(temporary, "icd.json"), JSON.stringify(icd))
    await rename(temporary, folder).catch((error) => {
      if (!existsSync(join(folder, "icd.json"))) throw error // else another process was first
    })
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
  return folder
}
