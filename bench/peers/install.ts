import { execFileSync } from "node:child_process"
import { existsSync, statSync } from "node:fs"
import { fileURLToPath } from "node:url"

/** Installs what the lock file names, unless that was done since it changed: nearly a gigabyte, which only this bench needs. */
export function installPeers(): void {
  const folder = fileURLToPath(new URL(".", import.meta.url))
  const done = `${folder}node_modules/.package-lock.json`
  if (existsSync(done) && statSync(done).mtimeMs >= statSync(`${folder}package-lock.json`).mtimeMs) return
  // Their install scripts fetch binaries for CUDA and build others: the prebuilt ones for CPU and WebGPU are enough.
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: "skip", NODE_LLAMA_CPP_SKIP_DOWNLOAD: "true" }
  const args = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
  execFileSync("npm", args, { cwd: folder, env, stdio: ["ignore", process.stderr, process.stderr] })
}
