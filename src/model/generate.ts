import { resetSampleState, type Sampling } from "../kernels/sample.ts"
import type { Model } from "./model.ts"

export interface GenerateOptions {
  readonly sampling: Sampling
  /** The most tokens to draw. */
  readonly maxTokens: number
  /** What happens when the context is full: refuse beforehand, or go on from the prompt's first token and the last half. */
  readonly overflow: "error" | "shift"
  readonly signal?: AbortSignal
}

/** What a generation cost so far. */
export interface GenerateStats {
  prefillTokens: number
  prefillMs: number
  /** From the end of the prefill to the last token read. */
  decodeMs: number
  /** Tokens drawn, those included that came after the caller stopped reading. */
  drawn: number
  /** Time in which the host recorded and submitted decode steps. */
  hostMs: number
  readbacks: number
}

/** Steps in one submit: enough that the read-back's delay does not show, few enough that text streams. */
const MIN_BATCH = 2
const MAX_BATCH = 16
const BATCH_MS = 40
/** One batch runs while the one before is read. */
const IN_FLIGHT = 2

/**
 * Draws tokens after a prompt, in batches, until `maxTokens`. Each is sampled on the GPU and fed back there; the host
 * only reads. Stopping early leaves at most two batches drawn for nothing.
 */
export async function* generateTokens(
  model: Model,
  prompt: readonly number[],
  { sampling, maxTokens, overflow, signal }: GenerateOptions,
  stats: GenerateStats,
): AsyncGenerator<number[]> {
  const history = [...prompt]
  let current = [...prompt]
  let left = maxTokens
  while (left > 0) {
    const room = model.context - current.length
    if (room < 1 || (overflow === "error" && left > room)) throw contextError(model, current.length, left)
    const count = Math.min(left, room)
    const began = performance.now()
    await model.prefill(current.slice(0, -1), 0, signal)
    stats.prefillTokens += current.length - 1
    stats.prefillMs += performance.now() - began
    resetSampleState(model.device, model.state, current, sampling, { history, drawn: maxTokens - left })
    for await (const tokens of decode(model, count, stats, signal)) {
      history.push(...tokens)
      yield tokens
    }
    left -= count
    if (left > 0) current = [prompt[0]!, ...history.slice(-Math.max(1, Math.floor(model.context / 2)))]
  }
}

async function* decode(
  model: Model,
  count: number,
  stats: GenerateStats,
  signal?: AbortSignal,
): AsyncGenerator<number[]> {
  const { device, state, decodePlan } = model
  const output = state.output.storage.buffer!
  const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ
  const staging = Array.from({ length: IN_FLIGHT }, () => device.buffer("scratch", MAX_BATCH * 4, usage))
  const flying: { tokens: Promise<ArrayBuffer>; buffer: GPUBuffer }[] = []
  let submitted = 0
  let batch = 1
  const submit = () => {
    const began = performance.now()
    const steps = Math.min(batch, count - submitted)
    const encoder = device.gpu.createCommandEncoder()
    const pass = encoder.beginComputePass()
    for (let i = 0; i < steps; i++) decodePlan.encode(pass)
    pass.end()
    const buffer = staging.pop()!
    encoder.copyBufferToBuffer(output, submitted * 4, buffer, 0, steps * 4)
    device.gpu.queue.submit([encoder.finish()])
    submitted += steps
    stats.drawn += steps
    stats.readbacks++
    stats.hostMs += performance.now() - began
    const tokens = device.mapped(buffer, steps * 4)
    tokens.catch(() => {}) // reported where it is awaited
    flying.push({ tokens, buffer })
  }
  let last = performance.now()
  try {
    while (submitted < count || flying.length > 0) {
      while (submitted < count && flying.length < IN_FLIGHT) submit()
      const { tokens, buffer } = flying[0]!
      const ids = [...new Uint32Array(await tokens)]
      flying.shift()
      staging.push(buffer)
      const now = performance.now()
      stats.decodeMs += now - last
      const fitting = Math.round((BATCH_MS * ids.length) / Math.max(0.01, now - last))
      batch = Math.max(MIN_BATCH, Math.min(MAX_BATCH, 2 * batch, fitting))
      signal?.throwIfAborted()
      yield ids
      last = performance.now()
    }
  } finally {
    await Promise.allSettled(flying.map(({ tokens }) => tokens))
    for (const buffer of [...staging, ...flying.map((each) => each.buffer)]) device.free(buffer)
  }
}

/** The error of a prompt and answer that do not fit. */
export function contextError(
  { context, config }: Pick<Model, "context" | "config">,
  prompt: number,
  maxTokens: number,
): RangeError {
  const remedies = [
    ...(context < config.maxPositions ? [`a context of up to ${config.maxPositions}`] : []),
    ...(prompt < context ? ["fewer new tokens", "overflow shift"] : ["a shorter prompt"]),
  ]
  return new RangeError(
    `generate: ${prompt} prompt tokens and ${maxTokens} new ones are ${prompt + maxTokens}, expected at most the context ` +
      `of ${context} (try ${remedies.join(" or ")})`,
  )
}
