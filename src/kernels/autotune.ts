import { attend } from "./attend.ts"
import type { Device } from "./device.ts"
import { GpuError } from "./errors.ts"
import { linear } from "./linear.ts"
import { type Plan, Run, ScratchPool } from "./run.ts"
import { stopwatch } from "./stopwatch.ts"
import { CHOICES, defaultTuning, type Tuning } from "./tuning.ts"

/** How long a pass should take, so that it says more of its kernel than of its submission. */
const PASS_MS = 2

/** How long a choice is timed, and how often at least: on a busy machine single passes say little. */
const CHOICE_MS = 40
const ROUNDS = 3

/** A choice other than the default must take less than this much of its time: what is closer may be noise. */
const MARGIN = 0.9

/** What has been measured, or is being measured, of a GPU: models beside one another share it. */
const known = new WeakMap<GPUDevice, Promise<Partial<Tuning>>>()

/**
 * Times the variants of kernels on a device and has it use the fastest, except where the device was opened with a choice of its
 * own. Measured once, in some tens of milliseconds for each choice and the time that compiling takes; on software adapters not at
 * all, as their defaults were measured. What cannot be measured keeps its default; a device that is lost says so at its next use.
 *
 * @returns what the device uses from now on
 */
export async function autotune(device: Device): Promise<Tuning> {
  if (device.software) return device.tuning
  const measuring = known.get(device.gpu) ?? measure(device)
  known.set(device.gpu, measuring)
  device.tuning = { ...defaultTuning(device.software), ...(await measuring), ...device.chosen }
  return device.tuning
}

async function measure(device: Device): Promise<Partial<Tuning>> {
  const found: Partial<Tuning> = {}
  const open = (Object.keys(CHOICES) as (keyof Tuning)[]).filter((name) => !(name in device.chosen))
  for (const name of open) Object.assign(found, await fastest(device, name))
  return found
}

/** The fastest of the choices that a name has, or none where it cannot be told. */
async function fastest(device: Device, name: keyof Tuning): Promise<Partial<Tuning>> {
  const ofSubgroups = name === "products" || name === "attention"
  if (ofSubgroups && !device.subgroups) return {}
  let trial: Device | undefined
  try {
    trial = device.beside() // with accounts and errors of its own
    return await timed(trial, name)
  } catch {
    return {}
  } finally {
    trial?.dispose()
  }
}

async function timed(device: Device, name: keyof Tuning): Promise<Partial<Tuning>> {
  const usual = defaultTuning(device.software)
  const watch = stopwatch(device)
  const pool = new ScratchPool(device)
  const inputs = await guarded(device, () => TRIALS[name](device))
  const others = (CHOICES[name] as readonly Tuning[typeof name][]).filter((value) => value !== usual[name])
  const contestants = []
  for (const value of [usual[name], ...others]) {
    const plan = await guarded(device, () => planned(device, { ...usual, [name]: value }, pool, inputs))
    const first = await guarded(device, () => watch(plan, 1))
    await first() // compiles
    contestants.push({ value, plan, best: Number.POSITIVE_INFINITY })
  }
  const one = await watch(contestants[0]!.plan, 1)()
  const times = Math.min(100, Math.max(1, Math.ceil(PASS_MS / one)))
  const began = performance.now()
  for (let round = 0; round < ROUNDS || performance.now() - began < CHOICE_MS; round++) {
    for (const contestant of contestants) {
      contestant.best = Math.min(contestant.best, (await watch(contestant.plan, times)()) / times)
    }
  }
  const [first, ...rest] = contestants
  const winner = rest.reduce((best, next) => (next.best < best.best ? next : best), {
    ...first!,
    best: first!.best * MARGIN,
  })
  return { [name]: winner.value }
}

function planned(device: Device, tuning: Tuning, pool: ScratchPool, record: (run: Run) => void): Plan {
  device.tuning = tuning
  const run = new Run(device)
  record(run)
  return run.plan(pool)
}

/** What is timed for a choice: the buffers are made first, of zeros, and then bound to each variant. */
const TRIALS: { readonly [K in keyof Tuning]: (device: Device) => (run: Run) => void } = {
  split(device) {
    const [x, w] = [device.tensor("scratch", [1, 1024]), device.matrix("scratch", [4096, 1024], "bf16")]
    return (run) => run.keep(linear(run, x, w))
  },
  products(device) {
    const [x, w] = [device.tensor("scratch", [128, 1024]), device.matrix("scratch", [512, 1024], "bf16")]
    return (run) => run.keep(linear(run, x, w))
  },
  attention(device) {
    const [T, S, H, D] = [128, 256, 4, 128]
    const [q, cursor] = [device.tensor("scratch", [T, H, D]), device.tensor("scratch", [2], "u32")]
    const [k, v] = [device.tensor("scratch", [S, 1, D]), device.tensor("scratch", [S, 1, D])]
    device.write(cursor, Uint32Array.of(S - T, 0))
    return (run) => run.keep(attend(run, q, { k, v }, cursor, { window: 0, scale: 1, softcap: 0 }))
  },
  ternary(device) {
    const [x, w] = [device.tensor("scratch", [32, 1024], "int8"), device.matrix("scratch", [1024, 1024], "ternary")]
    return (run) => run.keep(linear(run, x, w))
  },
}

/** Does something on the GPU and throws what goes wrong with it, in place of the device's owner at its next use. */
async function guarded<T>(device: Device, work: () => T): Promise<T> {
  const kinds = ["validation", "out-of-memory", "internal"] as const
  for (const kind of kinds) device.gpu.pushErrorScope(kind)
  let done: { readonly result: T } | { readonly error: unknown }
  try {
    done = { result: work() }
  } catch (error) {
    done = { error }
  }
  const errors = await Promise.all(kinds.map(() => device.gpu.popErrorScope()))
  if ("error" in done) throw done.error
  const error = errors.find((error) => error !== null)
  if (error) throw new GpuError("validation", `${device.description}: ${error.message}`)
  return done.result
}
