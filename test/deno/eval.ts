// Makes instances of all evaluation tasks under Deno, which are to be those of Node, and runs two tasks.
//   deno run -A test/deno/eval.ts
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { instanceHashes } from "../eval/instances.ts"

const root = new URL("../../", import.meta.url)
const { evalFolder, evalSources, load } = (await import(
  new URL("dist/src/index.js", root).href
)) as typeof import("../../src/index.ts")
const { evalData, evaluate, findTasks, modelIdentity, readRun, TASKS } = (await import(
  new URL("dist/src/eval/index.js", root).href
)) as typeof import("../../src/eval/index.ts")
let failures = 0

function check(what: string, ok: boolean, detail = ""): void {
  process.stdout.write(`${what}: ${ok ? "ok" : "FAILED"} ${detail}\n`)
  if (!ok) failures++
}

const expected = JSON.parse(readFileSync(new URL("test/fixtures/eval/instances.json", root), "utf8"))
const lm = await load(undefined, { context: 256 })
const data = evalData(evalSources())
const hashes = await instanceHashes(TASKS, lm.tokenizer!, data)
for (const [name, hash] of Object.entries(expected)) check(`instances of ${name}`, hashes[name] === hash)

const directory = mkdtempSync(join(tmpdir(), "gemlet-deno-eval-"))
try {
  const folder = evalFolder(directory)
  const wanted = ["niah_magic", "blimp"].flatMap((name) => {
    return findTasks(name).map((task) => ({ task, request: { lengths: [192], depths: [50], samples: 1 } }))
  })
  const options = { data, of: await modelIdentity(lm), folder }
  let results = 0
  for await (const { line } of evaluate(lm, wanted, options)) {
    if (line.trouble) check(line.id, false, line.trouble)
    results++
  }
  const { lines, prompts } = await readRun(folder)
  check(`results: ${results}`, results > 1 && lines.length === results && prompts.length === results)
  for await (const { line } of evaluate(lm, wanted, options)) check(`${line.id} was done before`, false)
} finally {
  rmSync(directory, { recursive: true, force: true })
  await lm.dispose()
}
process.stdout.write(`${failures} failed\n`)
process.exit(failures > 0 ? 1 : 0)
