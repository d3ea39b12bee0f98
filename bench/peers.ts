// Other runtimes on the same weights, prompts and adapter: appends a row to bench/results and writes the table and the
// chart of docs/performance.md from the last row of each adapter. Usage:
//   npm run bench:peers -- [--device auto|gpu|lavapipe|swiftshader] [--peers gemlet,llama.cpp/q4_0] [--prompts 32,512]
//                          [--tokens 16] [--rounds 3] [--patience 600] [--minutes M] [--results FILE] [--docs FOLDER] [--report-only]
// One round of all that take part, unattended, within 25 minutes:
//   npm run bench:peers -- --rounds 1 --tokens 8 --minutes 25
import { appendFile, mkdir, readFile, writeFile } from "node:fs/promises"
import { cpus, loadavg } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import type { DeviceKind } from "../src/index.ts"
import { Device } from "../src/kernels/device.ts"
import { findNodeAdapter } from "../src/platform/node_adapter.ts"
import { chart } from "./peers/chart.ts"
import { installPeers } from "./peers/install.ts"
import { chosen, nameOf } from "./peers/lineup.ts"
import { measure } from "./peers/measure.ts"
import { CONTEXT } from "./peers/peer.ts"
import type { Row } from "./peers/row.ts"
import { lastRows, tables, withTables } from "./peers/table.ts"
import { commit, rounded } from "./row.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const { values } = parseArgs({
  options: {
    device: { type: "string", default: "auto" },
    peers: { type: "string" },
    prompts: { type: "string", default: "32,512" },
    tokens: { type: "string", default: "16" },
    rounds: { type: "string", default: "3" },
    patience: { type: "string", default: "600" },
    minutes: { type: "string" },
    results: { type: "string", default: here("results/peers.jsonl") },
    docs: { type: "string", default: here("../docs") },
    "report-only": { type: "boolean", default: false },
  },
})

/** A whole number of an option, at least `least`. */
function whole(option: string, text: string, least: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= least) return value
  throw new RangeError(`--${option}: is ${text}, expected a whole number from ${least} on`)
}

async function run(): Promise<Row> {
  const entries = chosen(values.peers)
  const tokens = whole("tokens", values.tokens, 1)
  const rounds = whole("rounds", values.rounds, 1)
  const prompts = values.prompts.split(",").map((length) => whole("prompts", length, 2))
  const longest = Math.max(...prompts) + tokens + 1
  if (longest > CONTEXT)
    throw new RangeError(`--prompts: tokens are ${longest} with --tokens, expected ${CONTEXT} at most`)
  const patienceMs = 1000 * whole("patience", values.patience, 1)
  const msInAll = values.minutes === undefined ? Number.POSITIVE_INFINITY : 60_000 * whole("minutes", values.minutes, 1)
  installPeers()
  const loadAverage = loadavg()[0]!
  const gpu = await Device.open(await findNodeAdapter(values.device as DeviceKind))
  const { description: device, software } = gpu
  gpu.dispose()
  const plan = { entries, device: values.device, prompts, tokens, rounds, patienceMs, msInAll, commit: commit() }
  const peers = await measure({ ...plan, log: (line) => console.error(line) })
  return {
    commit: plan.commit,
    date: new Date().toISOString(),
    runtime: `node ${process.versions.node}`,
    cpu: `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}`,
    device,
    software,
    loadAverage,
    model: "Gemma 3 270M's shape, random weights",
    context: CONTEXT,
    tokens,
    rounds,
    reference: nameOf(entries[0]!),
    peers,
  }
}

if (!values["report-only"]) {
  const row = await run()
  await mkdir(dirname(values.results), { recursive: true })
  await appendFile(values.results, `${JSON.stringify(row, rounded)}\n`)
}
const rows = lastRows(await readFile(values.results, "utf8"))
const page = join(values.docs, "performance.md")
await writeFile(page, withTables(await readFile(page, "utf8"), tables(rows)))
for (const row of rows) await writeFile(join(values.docs, chart.nameOf(row)), chart.draw(row))
console.log(tables(rows))
