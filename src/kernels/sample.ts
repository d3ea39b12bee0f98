import { NO_POSITION } from "./cursors.ts"
import type { Device } from "./device.ts"
import { maskLogits } from "./mask_logits.ts"
import type { Run } from "./run.ts"
import { sample as kernel } from "./shaders.ts"
import { expectShape } from "./shape.ts"
import { format, type Tensor } from "./tensor.ts"

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

/** What sample() keeps on the GPU from step to step, a row for each of B sequences. */
export interface SampleState {
  /** `[B, 8]`, u32. */
  readonly settings: Tensor
  /** `[B, ceil(V / 32)]`, u32: a bit for each token of prompt and answer. */
  readonly seen: Tensor
  /** `[B]`, u32: the token to feed next. */
  readonly ids: Tensor
  /** `[B, 2]`, u32: the position of that token, NO_POSITION for no sequence, and how many tokens were drawn. */
  readonly cursor: Tensor
  /** `[B, context]`, u32: the tokens drawn. */
  readonly output: Tensor
}

export interface SampleStateOptions {
  readonly V: number
  /** The most tokens that a sequence draws. */
  readonly context: number
  /** B; 1 without it. */
  readonly sequences?: number
}

export interface ResetOptions {
  /** What the repetition penalty knows; the prompt without it. */
  readonly history?: readonly number[]
  /** How many tokens were drawn before: the noise goes on from there. */
  readonly drawn?: number
}

/** Memory for B sequences, none of which has begun. */
export function sampleState(device: Device, { V, context, sequences: B = 1 }: SampleStateOptions): SampleState {
  const cursor = device.tensor("scratch", [B, 2], "u32")
  device.write(
    cursor,
    Uint32Array.from({ length: 2 * B }, (_, i) => (i % 2 === 0 ? NO_POSITION : 0)),
  )
  return {
    settings: device.tensor("scratch", [B, 8], "u32"),
    seen: device.tensor("scratch", [B, Math.ceil(V / 32)], "u32"),
    ids: device.tensor("scratch", [B], "u32"),
    cursor,
    output: device.tensor("scratch", [B, context], "u32"),
  }
}

/**
 * Starts drawing for a sequence after `prompt`, whose last token is fed next at position `prompt.length - 1`. Other sequences
 * stay as they are.
 *
 * @param sequence its row, from 0
 */
export function resetSampleState(
  device: Device,
  state: Omit<SampleState, "output">,
  sequence: number,
  prompt: readonly number[],
  sampling: Sampling,
  { history = prompt, drawn = 0 }: ResetOptions = {},
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
  device.write(state.settings, new Uint8Array(settings), sequence * 32)
  writeSeen(device, state, sequence, history)
  place(device, state, sequence, { token: prompt.at(-1)!, position: prompt.length - 1 })
}

/** Writes which tokens the repetition penalty knows. */
export function writeSeen(
  device: Device,
  { seen }: Pick<SampleState, "seen">,
  sequence: number,
  history: readonly number[],
): void {
  const words = seen.shape[1]!
  const bits = new Uint32Array(words)
  for (const id of history) bits[id >> 5]! |= 1 << (id & 31)
  device.write(seen, bits, sequence * words * 4)
}

/** Puts a sequence to a token that is fed next, as if none had been drawn. */
export function place(
  device: Device,
  state: Pick<SampleState, "ids" | "cursor">,
  sequence: number,
  { token, position }: { token: number; position: number },
): void {
  device.write(state.ids, Uint32Array.of(token), sequence * 4)
  device.write(state.cursor, Uint32Array.of(position, 0), sequence * 8)
}

/**
 * Draws a token from each row of logits for the sequence of that row, appends it to `state.output`, makes it the next input and
 * advances the cursor. Rows depend on nothing of others; those at NO_POSITION draw nothing.
 *
 * @param logits `[n, V]`, n at most the state's B
 * @param mask   `[B', ceil(V / 32)]`, u32, B' at least n: a bit for each token that may be drawn, at least one a row; without it
 *               all may. The others are out before every filter, and at temperature 0
 */
export function sample(run: Run, logits: Tensor, state: SampleState, mask?: Tensor): void {
  const [n, V] = rowsOf("sample", logits, state)
  expectShape("sample", "seen", state.seen, [state.ids.shape[0]!, Math.ceil(V / 32)])
  const allowed = mask ? maskLogits(run, logits, mask) : logits
  run.dispatch(kernel, { logits: allowed, ...state }, { V, context: state.output.shape[1]! }, [n])
}

/** The sizes of logits, after checking that the state has a sequence for each row. */
export function rowsOf(op: string, logits: Tensor, { ids }: Pick<SampleState, "ids">): [n: number, V: number] {
  const [n = 0, V = 0] = logits.shape
  const B = ids.shape[0]!
  if (logits.shape.length === 2 && n <= B) return [n, V]
  throw new RangeError(`${op}: logits is ${format(logits.shape)}, expected [n, V] with at most ${B} rows`)
}
