import { LIKELIEST_ROWS, readLikeliest, type TokenLogProbability } from "../kernels/likeliest.ts"
import { resetSampleState, type Sampling } from "../kernels/sample.ts"
import type { Model } from "./model.ts"
import { Trail } from "./prefix_trail.ts"

/** Says which tokens may come next in an answer. */
export interface TokenMask {
  /** `[ceil(V / 32)]`: bit `v % 32` of word `v / 32` allows token v. At least one is allowed. */
  bits(): Uint32Array<ArrayBuffer>
  /** Takes the token that was drawn, before the next bits are asked for. */
  push(token: number): void
}

/** Tokens that were read together. */
export interface Drawn {
  readonly tokens: readonly number[]
  /** Of each token, if asked for. */
  readonly logprobs?: readonly TokenLogProbability[] | undefined
}

export interface GenerateOptions {
  readonly sampling: Sampling
  /** The most tokens to draw. */
  readonly maxTokens: number
  /** What happens when the context is full: refuse beforehand, or go on from the prompt's first token and the last half. */
  readonly overflow: "error" | "shift"
  /** With each token its log-probability and so many of the likeliest, at most MAX_LIKELIEST; without it none. */
  readonly logprobs?: number | undefined
  /** Draw only what it allows. Tokens then come one by one, as the host must see each before the next. */
  readonly mask?: TokenMask | undefined
  readonly signal?: AbortSignal | undefined
}

/** What a generation cost so far. */
export interface GenerateStats {
  /** Tokens of prompts that were computed, and those of which the cache had what they leave behind. */
  prefillTokens: number
  reusedTokens: number
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
const MAX_BATCH = LIKELIEST_ROWS
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
  options: GenerateOptions,
  stats: GenerateStats,
): AsyncGenerator<Drawn> {
  const { sampling, maxTokens, overflow, signal } = options
  const history = [...prompt]
  let current = [...prompt]
  let left = maxTokens
  try {
    while (left > 0) {
      const room = model.context - current.length
      if (room < 1 || (overflow === "error" && left > room)) throw contextError(model, current.length, left)
      const count = Math.min(left, room)
      await prefill(model, current.slice(0, -1), stats, signal)
      resetSampleState(model.device, model.state, current, sampling, { history, drawn: maxTokens - left })
      for await (const drawn of decode(model, current, count, options, stats)) {
        history.push(...drawn.tokens)
        yield drawn
      }
      left -= count
      if (left > 0) current = [prompt[0]!, ...history.slice(-Math.max(1, Math.floor(model.context / 2)))]
    }
  } finally {
    // After the answer, so that no one waits for it before the first token.
    if (!signal?.aborted) await model.savePrefix(prompt.slice(0, -1))
  }
}

/** Fills the cache with tokens from position 0 on, those left out that it knows from before. */
async function prefill(
  model: Model,
  ids: readonly number[],
  stats: GenerateStats,
  signal: AbortSignal | undefined,
): Promise<void> {
  const began = performance.now()
  const reused = await model.reuse(ids, signal)
  await model.prefill(ids.slice(reused), reused, signal)
  model.prefix.mark()
  stats.reusedTokens += reused
  stats.prefillTokens += ids.length - reused
  stats.prefillMs += performance.now() - began
}

async function* decode(
  model: Model,
  prompt: readonly number[],
  count: number,
  { logprobs, mask, signal }: GenerateOptions,
  stats: GenerateStats,
): AsyncGenerator<Drawn> {
  const { device, state, likeliest } = model
  const plan = model.decodePlanWith({ masked: mask !== undefined, logprobs: logprobs !== undefined })
  const output = state.output.storage.buffer!
  const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ
  // Tokens come first, what is known of their probabilities after MAX_BATCH of them.
  const beside = logprobs === undefined ? 0 : likeliest.output.storage.byteLength
  const [inFlight, most] = mask ? [1, 1] : [IN_FLIGHT, MAX_BATCH]
  const staging = Array.from({ length: inFlight }, () => device.buffer("scratch", MAX_BATCH * 4 + beside, usage))
  const flying: { read: Promise<ArrayBuffer>; buffer: GPUBuffer; from: number; steps: number }[] = []
  if (logprobs !== undefined) device.write(likeliest.count, Uint32Array.of(logprobs))
  const trail = new Trail(model.prefix, prompt)
  let bits: Uint32Array<ArrayBuffer> | undefined
  let submitted = 0
  let batch = 1
  const submit = () => {
    const began = performance.now()
    const steps = Math.min(batch, most, count - submitted)
    const allowed = mask?.bits()
    if (allowed && allowed !== bits) device.write(model.mask, allowed)
    bits = allowed
    trail.steps(steps)
    const encoder = device.gpu.createCommandEncoder()
    const pass = encoder.beginComputePass()
    for (let i = 0; i < steps; i++) plan.encode(pass)
    pass.end()
    const buffer = staging.pop()!
    encoder.copyBufferToBuffer(output, submitted * 4, buffer, 0, steps * 4)
    if (beside > 0) encoder.copyBufferToBuffer(likeliest.output.storage.buffer!, 0, buffer, MAX_BATCH * 4, beside)
    device.gpu.queue.submit([encoder.finish()])
    stats.drawn += steps
    stats.readbacks++
    stats.hostMs += performance.now() - began
    const read = device.mapped(buffer, beside > 0 ? MAX_BATCH * 4 + beside : steps * 4)
    read.catch(() => {}) // reported where it is awaited
    flying.push({ read, buffer, from: submitted, steps })
    submitted += steps
  }
  let last = performance.now()
  try {
    while (submitted < count || flying.length > 0) {
      while (submitted < count && flying.length < inFlight) submit()
      const { read, buffer, from, steps } = flying[0]!
      const bytes = await read
      const tokens = [...new Uint32Array(bytes, 0, steps)]
      trail.drawn(tokens)
      flying.shift()
      staging.push(buffer)
      const now = performance.now()
      stats.decodeMs += now - last
      const fitting = Math.round((BATCH_MS * steps) / Math.max(0.01, now - last))
      batch = Math.max(MIN_BATCH, Math.min(MAX_BATCH, 2 * batch, fitting))
      signal?.throwIfAborted()
      for (const token of tokens) mask?.push(token)
      const rows = new DataView(bytes, beside > 0 ? MAX_BATCH * 4 : 0)
      const logprobsOf = (n: number) => tokens.map((token, i) => readLikeliest(rows, from + i, token, n))
      yield { tokens, logprobs: logprobs === undefined ? undefined : logprobsOf(logprobs) }
      last = performance.now()
    }
  } finally {
    const late = await Promise.allSettled(flying.map(({ read }) => read))
    for (const [i, each] of late.entries()) {
      if (each.status === "rejected") break // what was drawn behind it has no place
      trail.drawn([...new Uint32Array(each.value, 0, flying[i]!.steps)])
    }
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
