import type { Device } from "./device.ts"
import { maskLogits } from "./mask_logits.ts"
import type { Run } from "./run.ts"
import { sample as kernel } from "./shaders.ts"
import { expectShape } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/** How the next token is drawn. The filters apply in this order, each to what the one before left. */
export interface Sampling {
  /** Above 1 makes tokens of the prompt and the answer less likely, below 1 more; 1 does nothing. */
  readonly repetitionPenalty: number
  /** 0 takes the likeliest token. */
  readonly temperature: number
  /** Keep the k likeliest tokens; 0 keeps all. */
  readonly topK: number
  /** Keep the likeliest tokens that together have this probability; 1 keeps all. */
  readonly topP: number
  /** Keep tokens at least this fraction as likely as the likeliest; 0 keeps all. */
  readonly minP: number
  /** A safe non-negative integer: the same seed on the same device draws the same tokens. */
  readonly seed: number
}

/** What sample() keeps on the GPU from step to step. */
export interface SampleState {
  /** `[8]`, u32. */
  readonly settings: Tensor
  /** `[ceil(V / 32)]`, u32: a bit for each token of prompt and answer. */
  readonly seen: Tensor
  /** `[1]`, u32: the token to feed next. */
  readonly ids: Tensor
  /** `[2]`, u32: the position of that token, and how many tokens were drawn. */
  readonly cursor: Tensor
  /** `[context]`, u32: the tokens drawn. */
  readonly output: Tensor
}

export function sampleState(device: Device, { V, context }: { V: number; context: number }): SampleState {
  return {
    settings: device.tensor("scratch", [8], "u32"),
    seen: device.tensor("scratch", [Math.ceil(V / 32)], "u32"),
    ids: device.tensor("scratch", [1], "u32"),
    cursor: device.tensor("scratch", [2], "u32"),
    output: device.tensor("scratch", [context], "u32"),
  }
}

/**
 * Starts drawing after `prompt`, whose last token is fed next at position `prompt.length - 1`. `history` holds the tokens
 * that the repetition penalty knows, `drawn` how many were drawn before (the noise goes on from there).
 */
export function resetSampleState(
  device: Device,
  state: SampleState,
  prompt: readonly number[],
  sampling: Sampling,
  { history = prompt, drawn = 0 }: { history?: readonly number[]; drawn?: number } = {},
): void {
  const settings = new ArrayBuffer(32)
  const data = new DataView(settings)
  data.setFloat32(0, sampling.temperature, true)
  data.setUint32(4, sampling.topK, true)
  data.setFloat32(8, sampling.topP, true)
  data.setFloat32(12, sampling.minP, true)
  data.setFloat32(16, sampling.repetitionPenalty, true)
  data.setUint32(20, sampling.seed >>> 0, true)
  data.setUint32(24, Math.floor(sampling.seed / 2 ** 32) >>> 0, true)
  data.setUint32(28, drawn, true)
  device.write(state.settings, new Uint8Array(settings))
  const seen = new Uint32Array(state.seen.shape[0]!)
  for (const id of history) seen[id >> 5]! |= 1 << (id & 31)
  device.write(state.seen, seen)
  device.write(state.ids, Uint32Array.of(prompt.at(-1)!))
  device.write(state.cursor, Uint32Array.of(prompt.length - 1, 0))
}

/**
 * Draws a token from one row of logits, appends it to `state.output`, makes it the next input and advances the cursor.
 *
 * @param logits `[1, V]`
 * @param mask   `[ceil(V / 32)]`, u32: a bit for each token that may be drawn, at least one; without it all may. The others are
 *               out before every filter, and at temperature 0
 */
export function sample(run: Run, logits: Tensor, state: SampleState, mask?: Tensor): void {
  const V = logits.shape[1]!
  expectShape("sample", "logits", logits, [1, V])
  expectShape("sample", "seen", state.seen, [Math.ceil(V / 32)])
  const allowed = mask ? maskLogits(run, logits, mask) : logits
  run.dispatch(kernel, { logits: allowed, ...state }, { V }, [1])
}
