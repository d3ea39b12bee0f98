import { expect } from "vitest"
import type { Device } from "../../src/kernels/device.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { resetSampleState, type Sampling, sample, sampleState } from "../../src/kernels/sample.ts"
import { free, tensor } from "./kernels.ts"

/** Every token by its probability. */
export const PLAIN: Sampling = { repetitionPenalty: 1, temperature: 1, topK: 0, topP: 1, minP: 0, seed: 1 }

/** What a state holds after some draws. */
export interface Drawn {
  readonly tokens: Uint32Array
  readonly ids: number
  readonly cursor: readonly number[]
  readonly seen: Uint32Array
}

/** What draws begin with. */
export interface DrawOptions {
  readonly prompt?: readonly number[]
  /** Every draw sees the prompt alone. */
  readonly forget?: boolean
  /** The tokens that a mask leaves. */
  readonly allowed?: readonly number[]
}

/** The bits of some ids, as `sample` takes them. */
export function maskOf(ids: readonly number[], V: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(V / 32))
  for (const id of ids) words[Math.floor(id / 32)]! |= 1 << (id % 32)
  return words
}

/** Draws from the same logits again and again, in one submit. */
export async function draw(
  device: Device,
  logits: Float32Array<ArrayBuffer>,
  settings: Partial<Sampling>,
  count: number,
  { prompt = [0], forget = false, allowed }: DrawOptions = {},
): Promise<Drawn> {
  const V = logits.length
  const x = tensor(device, [1, V], logits)
  const state = sampleState(device, { V, context: count })
  resetSampleState(device, state, 0, prompt, { ...PLAIN, ...settings })
  const seen = tensor(device, state.seen.shape, new Uint32Array(await device.read(state.seen)))
  const run = new Run(device)
  const pool = new ScratchPool(device)
  const mask = allowed && tensor(device, state.seen.shape, maskOf(allowed, V))
  sample(run, x, state, mask)
  const plan = run.plan(pool)
  const encoder = device.gpu.createCommandEncoder()
  if (forget) {
    for (let i = 0; i < count; i++) {
      encoder.copyBufferToBuffer(seen.storage.buffer!, state.seen.storage.buffer!)
      const pass = encoder.beginComputePass()
      plan.encode(pass)
      pass.end()
    }
  } else {
    const pass = encoder.beginComputePass()
    for (let i = 0; i < count; i++) plan.encode(pass)
    pass.end()
  }
  device.gpu.queue.submit([encoder.finish()])
  const read = async (name: "output" | "ids" | "cursor" | "seen") => new Uint32Array(await device.read(state[name]))
  const drawn = {
    tokens: await read("output"),
    ids: (await read("ids"))[0]!,
    cursor: [...(await read("cursor"))],
    seen: await read("seen"),
  }
  plan.dispose()
  pool.dispose()
  free(device, x, seen, ...(mask ? [mask] : []), ...Object.values(state))
  return drawn
}

/** Fails when a token of probability 0 was drawn, or when the frequencies are too far from the probabilities. */
export function expectDistribution(tokens: Uint32Array, p: Float64Array): void {
  const counts = new Float64Array(p.length)
  for (const token of tokens) counts[token]!++
  let [chi2, cells] = [0, 0]
  let [restCount, restExpected] = [0, 0]
  for (const [id, probability] of p.entries()) {
    const expected = probability * tokens.length
    if (expected === 0) expect(counts[id], `draws of token ${id}, which is filtered out`).toBe(0)
    if (expected < 5) {
      restCount += counts[id]!
      restExpected += expected
    } else {
      chi2 += (counts[id]! - expected) ** 2 / expected
      cells++
    }
  }
  if (restExpected >= 1) {
    chi2 += (restCount - restExpected) ** 2 / restExpected
    cells++
  }
  // The mean of chi-square is cells - 1, its variance twice that: five deviations and a little.
  expect(chi2, `chi-square over ${cells} cells`).toBeLessThan(cells + 5 * Math.sqrt(2 * cells) + 5)
}
