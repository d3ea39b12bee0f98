/** Names of the schedules, each a shape of the learning rate after the warm-up. */
export const SCHEDULES = ["constant", "linear", "cosine", "halve"] as const
export type ScheduleName = (typeof SCHEDULES)[number]

export interface ScheduleOptions {
  /** Length of the run. */
  readonly steps: number
  /** Over how many steps the rate rises linearly from 0. Default 0. */
  readonly warmup?: number | undefined
  /** What `cosine` falls to, as a fraction of the peak. Default 0. */
  readonly minimum?: number | undefined
}

/**
 * What the peak learning rate is multiplied by at a step, from 0 on. The warm-up, `linear` and `cosine` (Loshchilov &
 * Hutter, arXiv:1608.03983) are those of transformers; `halve` is constant, and half from the middle of the run on
 * (arXiv:2406.02528).
 */
export function schedule(
  name: ScheduleName,
  { steps, warmup = 0, minimum = 0 }: ScheduleOptions,
): (step: number) => number {
  if (!SCHEDULES.includes(name)) {
    throw new RangeError(`schedule: name is ${name}, expected one of ${SCHEDULES.join(", ")}`)
  }
  if (!(Number.isSafeInteger(steps) && steps > 0)) {
    throw new RangeError(`schedule: steps is ${steps}, expected an integer above 0`)
  }
  if (!(Number.isSafeInteger(warmup) && warmup >= 0 && warmup <= steps)) {
    throw new RangeError(`schedule: warmup is ${warmup}, expected an integer from 0 to steps = ${steps}`)
  }
  if (!(minimum >= 0 && minimum <= 1)) {
    throw new RangeError(`schedule: minimum is ${minimum}, expected a number from 0 to 1`)
  }
  if (minimum > 0 && name !== "cosine") {
    throw new RangeError(`schedule: minimum is ${minimum} for ${name}, expected one for cosine only`)
  }
  const after = shape(name, { steps, warmup, minimum })
  return (step) => (step < warmup ? step / warmup : after(step))
}

/** The multiplier once the warm-up is over. */
function shape(name: ScheduleName, { steps, warmup, minimum }: Required<ScheduleOptions>): (step: number) => number {
  const rest = Math.max(1, steps - warmup)
  switch (name) {
    case "constant":
      return () => 1
    case "linear":
      return (step) => Math.max(0, (steps - step) / rest)
    case "cosine":
      return (step) => minimum + ((1 - minimum) * (1 + Math.cos((Math.PI * (step - warmup)) / rest))) / 2
    case "halve":
      return (step) => (step < steps / 2 ? 1 : 0.5)
  }
}
