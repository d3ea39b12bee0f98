// Times the kernels of one decode step and of one prefill chunk, each alone, and appends a row per model and type to
// bench/results/stages.jsonl: milliseconds, dispatches and the bytes bound to them against what the adapter copies. Usage:
//   npm run bench:stages -- [--device auto|gpu|software|lavapipe|swiftshader] [--models storyteller,270m] [--dtypes stored,q8,q4]
//     [--position 512] [--rounds 9]
import { rm } from "node:fs/promises"
import { loadavg } from "node:os"
import { parseArgs } from "node:util"
import { type DeviceKind, load, type WeightPrecision } from "../src/index.ts"
import type { Device } from "../src/kernels/device.ts"
import type { Plan } from "../src/kernels/run.ts"
import { resetSampleState } from "../src/kernels/sample.ts"
import { PLAIN_STEP } from "../src/model/decode_steps.ts"
import type { Model } from "../src/model/model.ts"
import { internals } from "../src/session.ts"
import { GREEDY, inTurn, type Spread } from "../test/helpers/decode_timing.ts"
import { writeRandom270m } from "../test/helpers/random_270m.ts"
import { copyBandwidth } from "./bandwidth.ts"
import { append, circumstances } from "./row.ts"

const { values } = parseArgs({
  options: {
    device: { type: "string", default: "auto" },
    models: { type: "string", default: "storyteller,270m" },
    dtypes: { type: "string", default: "stored,q8,q4" },
    position: { type: "string", default: "512" },
    rounds: { type: "string", default: "9" },
  },
})
const position = Number(values.position)
const rounds = Number(values.rounds)

/** Steps in one submit, so that its own cost does not show. */
const STEPS = 4

interface Stage {
  readonly kernel: string
  readonly dispatches: number
  readonly ms: Spread
  readonly boundBytes: number
}

async function submitted(device: Device, plan: Plan, only?: ReadonlySet<string>): Promise<number> {
  const began = performance.now()
  const encoder = device.gpu.createCommandEncoder()
  const pass = encoder.beginComputePass()
  for (let i = 0; i < STEPS; i++) plan.encode(pass, only)
  pass.end()
  device.gpu.queue.submit([encoder.finish()])
  await device.settle()
  return (performance.now() - began) / STEPS
}

/** The kernels of a plan in the order of their first dispatch, and the whole of it, taken in turn. */
async function stages({ device, decoder }: Model, plan: Plan): Promise<{ stages: Stage[]; whole: Spread }> {
  const names = [...new Set(plan.kernels.map(({ kernel }) => kernel))]
  const place = () => resetSampleState(device, decoder.steps.state, 0, new Array<number>(position + 1).fill(1), GREEDY)
  const measure = (only?: ReadonlySet<string>) => () => {
    place()
    return submitted(device, plan, only)
  }
  const [whole, ...each] = await inTurn([measure(), ...names.map((name) => measure(new Set([name])))], rounds)
  const found = names.map((kernel, i): Stage => {
    const own = plan.kernels.filter((step) => step.kernel === kernel)
    return { kernel, dispatches: own.length, ms: each[i]!, boundBytes: own.reduce((sum, { bytes }) => sum + bytes, 0) }
  })
  return { stages: found, whole: whole! }
}

async function measure(model: string, folder: string | undefined, dtype: WeightPrecision) {
  const loadAverage = loadavg()[0]
  const lm = await load(folder, { device: values.device as DeviceKind, dtype, context: 2 * position })
  const { model: loaded } = internals(lm)
  const plan = loaded.decoder.steps.plan(PLAIN_STEP)
  const { stages: found, whole } = await stages(loaded, plan)
  const copyRate = await copyBandwidth(loaded.device)
  const row = {
    ...circumstances(lm.device, loadAverage),
    model,
    dtype,
    position,
    rounds,
    weightBytes: lm.memory.weights,
    copyBytesPerSecond: copyRate,
    decodeStepMs: whole,
    dispatches: plan.dispatches,
    stages: found.map((stage) => ({
      ...stage,
      gbPerSecond: stage.boundBytes / stage.ms.median / 1e6,
      percentOfCopyBandwidth: (100 * stage.boundBytes * 1000) / stage.ms.median / copyRate,
    })),
  }
  await lm.dispose()
  return row
}

for (const model of values.models.split(",")) {
  const folder = model === "270m" ? (await writeRandom270m()).folder : undefined
  try {
    for (const dtype of values.dtypes.split(",") as WeightPrecision[]) {
      const row = await measure(model, folder, dtype)
      await append("stages", row)
      console.table(
        Object.fromEntries(
          row.stages.map(({ kernel, dispatches, ms, gbPerSecond }) => [
            kernel,
            { dispatches, ms: ms.median, gbPerSecond },
          ]),
        ),
      )
      console.log(`${model} ${dtype}: ${row.decodeStepMs.median.toFixed(2)} ms a step, ${row.dispatches} dispatches`)
    }
  } finally {
    if (folder) await rm(folder, { recursive: true, force: true })
  }
}
