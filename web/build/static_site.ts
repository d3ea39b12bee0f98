import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"
import { cp, readdir, readFile, stat, writeFile } from "node:fs/promises"
import { join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import type { Plugin } from "vite"
import { CONTENT_POLICY } from "./content_policy.ts"

const WEIGHTS = fileURLToPath(new URL("../../weights/", import.meta.url))
const STORYTELLER = [
  "config.json",
  "generation_config.json",
  "model.safetensors",
  "tokenizer.json",
  "tokenizer_config.json",
]
/** In the service worker's script: the files that it keeps. */
const FILES_MARK = /["'`]__FILES__["'`]/
/** All scripts together, gzipped: what a first visit downloads beside the model. */
const SCRIPT_BUDGET = 300 * 1000

/** What makes a folder of the bundle that any host can serve: policy, weights, the list of files to keep, a limit of size. */
export function staticSite(): Plugin[] {
  let outDir = ""
  const site: Plugin = {
    name: "gemlet-static-site",
    apply: "build",
    configResolved(config) {
      outDir = resolve(config.root, config.build.outDir)
    },
    transformIndexHtml: () => [
      {
        tag: "meta",
        attrs: { "http-equiv": "Content-Security-Policy", content: CONTENT_POLICY },
        injectTo: "head-prepend",
      },
    ],
    async closeBundle() {
      for (const file of STORYTELLER) {
        await cp(join(WEIGHTS, "storyteller", file), join(outDir, "weights/storyteller", file))
      }
      await listFiles(outDir)
      await expectSmall(outDir)
    },
  }
  return [site, devWeights()]
}

/** Serves the storyteller while developing, from where the built folder has it. */
function devWeights(): Plugin {
  return {
    name: "gemlet-dev-weights",
    apply: "serve",
    configureServer({ middlewares }) {
      middlewares.use("/weights/storyteller", (request, response, next) => {
        const file = new URL(request.url ?? "/", "http://host").pathname.slice(1)
        if (STORYTELLER.includes(file)) createReadStream(join(WEIGHTS, "storyteller", file)).pipe(response)
        else next()
      })
    },
  }
}

/** Writes the names of all files, and a version that changes with any of them, into the service worker. */
async function listFiles(outDir: string): Promise<void> {
  const script = join(outDir, "service_worker.js")
  const source = await readFile(script, "utf8")
  if (!FILES_MARK.test(source)) throw new Error("service_worker.js: __FILES__ is missing, expected it once")
  const files = (await filesBelow(outDir)).filter((file) => file !== "service_worker.js").sort()
  const hash = createHash("sha256")
  for (const file of files) hash.update(file).update(await readFile(join(outDir, file)))
  const version = hash.digest("hex").slice(0, 16)
  const names = files.map((file) => (file === "index.html" ? "./" : file))
  await writeFile(
    script,
    source.replace(FILES_MARK, () => JSON.stringify({ version, files: names })),
  )
}

async function expectSmall(outDir: string): Promise<void> {
  let total = 0
  for (const file of await filesBelow(outDir)) {
    if (file.endsWith(".js")) total += gzipSync(await readFile(join(outDir, file))).length
  }
  const size = `${(total / 1000).toFixed(1)} kB gzipped`
  if (total > SCRIPT_BUDGET) throw new Error(`web: scripts are ${size}, expected at most ${SCRIPT_BUDGET / 1000} kB`)
  process.stdout.write(`scripts: ${size} of ${SCRIPT_BUDGET / 1000} kB\n`)
}

async function filesBelow(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true })
  const files: string[] = []
  for (const name of names) {
    const path = join(folder, name)
    if ((await stat(path)).isFile()) files.push(relative(folder, path).replaceAll("\\", "/"))
  }
  return files
}
