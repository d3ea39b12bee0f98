// Holds the built package to the goldens under Deno, whose shader compiler is Naga, and runs its CLI.
//   deno run -A test/deno/goldens.ts
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { LanguageModel } from "../../src/index.ts"
import { golden } from "../helpers/golden.ts"

const root = new URL("../../", import.meta.url)
const { load } = (await import(new URL("dist/src/index.js", root).href)) as typeof import("../../src/index.ts")
const path = (name: string) => fileURLToPath(new URL(name, root))
let failures = 0

function check(what: string, ok: boolean, detail = ""): void {
  process.stdout.write(`${what}: ${ok ? "ok" : "FAILED"} ${detail}\n`)
  if (!ok) failures++
}

async function greedy(lm: LanguageModel, ids: readonly number[], maxTokens: number) {
  const answer = lm.generate(ids, { temperature: 0, maxTokens, ignoreEos: true })
  for await (const _ of answer);
  return answer
}

const equal = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((x, i) => x === b[i])

async function checkGolden(name: string, folder: string): Promise<void> {
  const expected = golden(name)
  const lm = await load(folder, { context: 512 })
  for (const [i, { ids }] of expected.prompts.entries()) {
    const { data, tolerance, shape } = expected.tensor(`prompt.${i}.logits`)
    const logits = await lm.logits(ids, { last: shape[0]! })
    let worst = 0
    for (let j = 0; j < data.length; j++) {
      const error = Math.abs(logits.data[j]! - data[j]!)
      worst = Math.max(worst, error)
    }
    const share = worst / tolerance
    check(`${name}: logits of ${ids.length} tokens`, share <= 1, `(${share.toFixed(2)} of the tolerance)`)
  }
  for (const { ids, new_tokens, exact_until = new_tokens.length } of expected.greedy) {
    const { tokens } = await greedy(lm, ids, exact_until)
    check(`${name}: ${exact_until} greedy tokens`, equal(tokens, new_tokens.slice(0, exact_until)))
  }
  await lm.dispose()
  check(`${name}: every GPU byte is given back`, lm.memory.total === 0)
}

async function checkGradients(name: string): Promise<void> {
  const expected = golden(name)
  const { train } = JSON.parse(readFileSync(path(`test/fixtures/${name}/golden.json`), "utf8"))
  const lm = await load(path(`test/fixtures/${name}`), { context: 64, dtype: "f32" })
  const { gradients } = await lm.lossAndGradients(train.ids)
  let share = 0
  for (const [parameter, gradient] of gradients) {
    const { data, tolerance } = expected.tensor(`train.grad.${parameter}`)
    data.forEach((value, i) => {
      share = Math.max(share, Math.abs(gradient[i]! - value) / tolerance)
    })
  }
  check(`${name}: gradients of ${gradients.size} parameters`, share <= 1, `(${share.toFixed(2)} of the tolerance)`)
  await lm.dispose()
}

const HGRN = "goldens/tiny-hgrnbit"
const FOLDERS = ["1", "2", "3", "3-bf16", "3-f16", "3-mm", "3-rope8-sharded"].map(
  (suffix) => `goldens/tiny-gemma${suffix}`,
)
const TRAINED = [...FOLDERS.slice(0, 3), HGRN]
for (const folder of [...FOLDERS, HGRN]) await checkGolden(folder, path(`test/fixtures/${folder}`))
for (const folder of TRAINED) await checkGradients(folder)
await checkGolden("storyteller", path("weights/storyteller"))

const llama = JSON.parse(readFileSync(path("test/fixtures/stories260K/golden.json"), "utf8"))
const stories = await load(path("test/fixtures/stories260K"))
const answer = await greedy(stories, llama.greedy_ids_from_bos.slice(0, 1), llama.greedy_ids_from_bos.length - 1)
check("stories260K: golden text", answer.text === llama.greedy_text)
await stories.dispose()

const cli = (...args: string[]) =>
  execFileSync(process.execPath, ["run", "-A", path("dist/cli/main.js"), ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  })
const { greedy: runs } = golden("storyteller")
const ids = runs[0]!.ids.join(",")
const json = JSON.parse(
  cli("generate", "--ids", ids, "--temperature", "0", "--max-tokens", "40", "--ignore-eos", "--json"),
)
check("gemlet generate --json: greedy tokens", equal(json.tokens, runs[0]!.new_tokens.slice(0, 40)))
check("gemlet generate: a story", cli("generate", "Once upon a time", "--seed", "1", "--max-tokens", "30").length > 60)
check("gemlet inspect", cli("inspect").includes("gemma3_text"))
check("gemlet score --json", JSON.parse(cli("score", "Once upon a time", "--json")).perplexity < 10)

process.stdout.write(`${failures} failed\n`)
process.exit(failures > 0 ? 1 : 0)
