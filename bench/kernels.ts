// Times each kernel at the shapes of Gemma 3 270M and appends a row to bench/results. Usage:
//   npm run bench:kernels -- [--device auto|gpu|software|lavapipe|swiftshader]
import { parseArgs } from "node:util"
import type { DeviceKind } from "../src/index.ts"
import { add } from "../src/kernels/add.ts"
import { attend, cacheWrite } from "../src/kernels/attend.ts"
import { Device, type DeviceOptions } from "../src/kernels/device.ts"
import { embed } from "../src/kernels/embed.ts"
import { glu } from "../src/kernels/glu.ts"
import { linear } from "../src/kernels/linear.ts"
import { rmsNorm } from "../src/kernels/rms_norm.ts"
import { rope, ropeTables } from "../src/kernels/rope.ts"
import { Run, ScratchPool } from "../src/kernels/run.ts"
import { resetSampleState, sample, sampleState } from "../src/kernels/sample.ts"
import type { Tensor } from "../src/kernels/tensor.ts"
import { findNodeAdapter } from "../src/platform/node_adapter.ts"
import { copyBandwidth } from "./bandwidth.ts"
import { append, circumstances } from "./row.ts"

const { values } = parseArgs({ options: { device: { type: "string", default: "auto" } } })
const open = async (options?: DeviceOptions) => Device.open(await findNodeAdapter(values.device as DeviceKind), options)
const [V, C, F, H, G, D, W] = [262144, 640, 2048, 4, 1, 256, 512]

function filledTensor(device: Device, shape: number[]): Tensor {
  const x = device.tensor("scratch", shape)
  const count = x.storage.byteLength / 4
  device.write(
    x,
    Float32Array.from({ length: count }, (_, i) => Math.sin(i * 0.37)),
  )
  return x
}

interface Case {
  name: string
  /** Bytes that must be read and written, and floating-point operations, per call. */
  bytes: number
  flops: number
  record: (run: Run) => void
}

function cases(device: Device, T: number): Case[] {
  const filled = (shape: number[]) => filledTensor(device, shape)
  const x = filled([T, C])
  const wide = filled([T, F])
  const norm = device.tensor("scratch", [C], "bf16")
  const ids = device.tensor("scratch", [T], "u32")
  const q = filled([T, H, D])
  const k = filled([T, G, D])
  const at = (position: number) => {
    const cursor = device.tensor("scratch", [2], "u32")
    device.write(cursor, Uint32Array.of(position, 0))
    return cursor
  }
  const cursor = at(1000)
  const tables = ropeTables(device, { headDim: D, theta: 1e6, factor: 1 }, 4096)
  const local = { k: filled([W + 128, G, D]), v: filled([W + 128, G, D]) }
  const global = { k: filled([2048, G, D]), v: filled([2048, G, D]) }
  const long = { k: filled([8192, G, D]), v: filled([8192, G, D]) }
  const scale = D ** -0.5
  const product = (name: string, N: number, K: number, input: Tensor): Case => {
    const weight = device.matrix("weights", [N, K], "bf16")
    return {
      name: `linear ${name} [${N}, ${K}] bf16`,
      bytes: N * K * 2 + (T * N + T * K) * 4,
      flops: 2 * T * N * K,
      record: (run) => run.keep(linear(run, input, weight)),
    }
  }
  const list: Case[] = [
    {
      name: "rms_norm",
      bytes: T * C * 8,
      flops: 4 * T * C,
      record: (run) => run.keep(rmsNorm(run, x, norm, { eps: 1e-6, offset: 1 })),
    },
    product("q", H * D, C, x),
    product("k", G * D, C, x),
    product("o", C, H * D, filled([T, H * D])),
    product("gate", F, C, x),
    product("down", C, F, wide),
    {
      name: "rope",
      bytes: T * H * D * 8,
      flops: 6 * T * H * D,
      record: (run) => run.keep(rope(run, q, tables, cursor)),
    },
    { name: "cache_write", bytes: T * G * D * 16, flops: 0, record: (run) => cacheWrite(run, k, k, local, cursor) },
    ...[
      { kind: "local, 512 keys", cache: local, window: W, keys: W, cursor },
      { kind: "global, 1000 keys", cache: global, window: 0, keys: 1000, cursor },
      { kind: "global, 8000 keys", cache: long, window: 0, keys: 8000, cursor: at(8000) },
    ].map(({ kind, cache, window, keys, cursor }) => ({
      name: `attend ${kind}`,
      bytes: (keys * G * D * 2 + T * H * D * 2) * 4,
      flops: 4 * T * H * D * keys,
      record: (run: Run) => run.keep(attend(run, q, cache, cursor, { window, scale, softcap: 0 })),
    })),
    { name: "glu", bytes: T * F * 12, flops: 10 * T * F, record: (run) => run.keep(glu(run, wide, wide, "gelu_tanh")) },
    { name: "add", bytes: T * C * 12, flops: T * C, record: (run) => run.keep(add(run, x, x)) },
  ]
  if (T === 1) {
    const table = device.matrix("weights", [V, C], "bf16")
    const logits = filled([1, V])
    const sampling = { repetitionPenalty: 1, temperature: 0, topK: 0, topP: 1, minP: 0, seed: 1 }
    list.push(
      { name: "embed", bytes: C * 6, flops: C, record: (run) => run.keep(embed(run, ids, table, 1)) },
      {
        name: `linear head [${V}, ${C}] bf16`,
        bytes: V * C * 2 + V * 4,
        flops: 2 * V * C,
        record: (run) => run.keep(linear(run, x, table)),
      },
      ...[
        { kind: "greedy", settings: sampling },
        { kind: "top-k 64, top-p 0.95", settings: { ...sampling, temperature: 1, topK: 64, topP: 0.95 } },
      ].map(({ kind, settings }) => ({
        name: `sample ${kind}`,
        bytes: V * 4,
        flops: V,
        record: (run: Run) => {
          const own = sampleState(device, { V, context: 4096 })
          resetSampleState(device, own, 0, [2], settings)
          sample(run, logits, own)
        },
      })),
    )
  }
  return list
}

/** Milliseconds per call, of the clock and of this process on all its cores, calls in one submit; medians of five. */
async function time(device: Device, { record }: Case): Promise<[ms: number, cpuMs: number]> {
  const pool = new ScratchPool(device)
  const run = new Run(device)
  record(run)
  const plan = run.plan(pool)
  const once = async (calls: number) => {
    const encoder = device.gpu.createCommandEncoder()
    const pass = encoder.beginComputePass()
    for (let i = 0; i < calls; i++) plan.encode(pass)
    pass.end()
    const [began, cpuBegan] = [performance.now(), process.cpuUsage()]
    device.gpu.queue.submit([encoder.finish()])
    await device.settle()
    const { user, system } = process.cpuUsage(cpuBegan)
    return { ms: (performance.now() - began) / calls, cpuMs: (user + system) / 1000 / calls }
  }
  await once(1)
  const calls = Math.max(1, Math.min(200, Math.round(50 / (await once(1)).ms)))
  const samples: { ms: number; cpuMs: number }[] = []
  for (let i = 0; i < 5; i++) samples.push(await once(calls))
  plan.dispose()
  pool.dispose()
  const median = (of: "ms" | "cpuMs") => samples.map((sample) => sample[of]).sort((a, b) => a - b)[2]!
  return [median("ms"), median("cpuMs")]
}

/** Kernels that have a variant with subgroups, for several tokens. */
const VARIED = /^(linear|attend) /

const device = await open({ subgroups: "never" })
const sharing = await open({ subgroups: "always" })
const copyRate = await copyBandwidth(device)
const rows: Record<string, unknown>[] = []
for (const T of [1, 128]) {
  const plain = cases(device, T).map((each) => ({ on: device, each }))
  const shared = T > 1 && sharing.subgroups ? cases(sharing, T).map((each) => ({ on: sharing, each })) : []
  for (const { on, each } of [...plain, ...shared.filter(({ each }) => VARIED.test(each.name))]) {
    const [ms, cpuMs] = await time(on, each)
    const row = { kernel: each.name, T, subgroups: on === sharing, ms, cpuMs }
    const rates = { gbPerSecond: each.bytes / ms / 1e6, gflops: each.flops / ms / 1e6 }
    const percent = (100 * each.bytes * 1000) / ms / copyRate
    rows.push({ ...row, ...rates, percentOfCopyBandwidth: percent })
    console.log(
      `${each.name.padEnd(34)} T=${String(T).padEnd(4)} ${on === sharing ? "subgroups" : "         "} ${ms.toFixed(3).padStart(9)} ms ` +
        `${cpuMs.toFixed(3).padStart(9)} ms of CPU ${rates.gbPerSecond.toFixed(2).padStart(8)} GB/s ` +
        `${rates.gflops.toFixed(1).padStart(7)} GFLOP/s ${percent.toFixed(0).padStart(4)} % of copy bandwidth`,
    )
  }
}
const result = {
  ...circumstances(device),
  copyBytesPerSecond: copyRate,
  kernels: rows,
}
await append("kernels", result)
for (const each of [device, sharing]) each.dispose()
