// Trains with the built package under Deno, whose shader compiler is Naga: golden adapter, steps, resume, files.
//   deno run -A test/deno/training.ts
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { golden } from "../helpers/golden.ts"

const root = new URL("../../", import.meta.url)
const { load, memoryFolder, memoryStore, tune } = (await import(
  new URL("dist/src/index.js", root).href
)) as typeof import("../../src/index.ts")
const path = (name: string) => fileURLToPath(new URL(name, root))
let failures = 0

function check(what: string, ok: boolean, detail = ""): void {
  process.stdout.write(`${what}: ${ok ? "ok" : "FAILED"} ${detail}\n`)
  if (!ok) failures++
}

const worst = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0)

async function checkGoldenAdapter(name: string): Promise<void> {
  const expected = golden(name)
  const { train } = JSON.parse(readFileSync(path(`test/fixtures/${name}/golden.json`), "utf8"))
  const lm = await load(path(`test/fixtures/${name}`), { context: 64 })
  const base = (await lm.logits(train.ids)).data
  await lm.loadAdapter(path(`test/fixtures/${name}/adapter`))
  const { data, tolerance } = expected.tensor("lora.logits")
  const share = worst((await lm.logits(train.ids)).data, data) / tolerance
  check(`${name}: logits with the adapter`, share <= 1, `(${share.toFixed(2)} of the tolerance)`)
  const wrt = Object.keys(JSON.parse(readFileSync(path(`test/fixtures/${name}/golden.json`), "utf8")).tensors)
    .filter((key) => key.startsWith("lora.grad."))
    .map((key) => key.slice("lora.grad.".length))
  const { gradients } = await lm.lossAndGradients(train.ids, { wrt })
  const shares = wrt.map((key) => {
    const { data, tolerance } = expected.tensor(`lora.grad.${key}`)
    return worst(gradients.get(key)!, data) / tolerance
  })
  const most = Math.max(...shares)
  check(`${name}: gradients of ${wrt.length} factors`, most <= 1, `(${most.toFixed(2)} of the tolerance)`)
  await lm.removeAdapter("default")
  check(`${name}: the base without it, to the bit`, worst((await lm.logits(train.ids)).data, base) === 0)
  await lm.dispose()
}

const STORIES = Array.from({ length: 8 }, () => ({ text: "The fox sang to the moon, and the moon sang to the fox." }))

async function checkMethod(name: string, options: Parameters<typeof tune>[2]): Promise<void> {
  const common = {
    rank: 4,
    steps: 4,
    warmup: 0,
    rate: 1e-2,
    batch: 1,
    context: 32,
    heldOut: 0,
    saveEvery: 2,
    ...options,
  }
  const run = async (store: ReturnType<typeof memoryStore>, more: object = {}, until = 4) => {
    const lm = await load(undefined, { context: 64, dtype: options?.method === "full" ? "f32" : "stored" })
    const tuning = tune(lm, STORIES, { ...common, store, ...more })
    const losses: number[] = []
    for await (const { loss, step } of tuning) {
      losses.push(loss!)
      if (step === until) break
    }
    return { lm, tuning, losses }
  }
  const store = memoryStore()
  const { lm, tuning, losses } = await run(store)
  const falls = losses.at(-1)! < losses[0]! - 0.1
  check(`${name}: losses fall`, losses.length === 4 && falls, losses.map((loss) => loss.toFixed(3)).join(", "))
  if (options?.method !== "full") {
    const trained = (await lm.logits("Once upon a time")).data
    tuning.dispose()
    await lm.removeAdapter("tuned")
    await lm.loadAdapter(memoryFolder("saved", store.files))
    const error = worst((await lm.logits("Once upon a time")).data, trained)
    check(`${name}: the saved adapter gives the same logits`, error <= 1e-4, `(${error.toExponential(1)})`)
  }
  await lm.dispose()
  const cut = memoryStore()
  await (await run(cut, {}, 3)).lm.dispose()
  const rest = await run(cut, { resume: true })
  await rest.lm.dispose()
  check(`${name}: goes on to the bit`, rest.losses.join() === losses.slice(2).join())
}

for (const name of ["tiny-gemma1", "tiny-gemma2", "tiny-gemma3"]) await checkGoldenAdapter(`goldens/${name}`)
await checkMethod("lora", { recompute: true })
await checkMethod("dora", { dora: true, optimizer: "sgd", rate: 1 })
await checkMethod("lamda", { method: "lamda" })
await checkMethod("full", { method: "full", rate: 1e-3 })

process.stdout.write(`${failures} failed\n`)
process.exit(failures > 0 ? 1 : 0)
