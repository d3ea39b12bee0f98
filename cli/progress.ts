import cliProgress from "cli-progress"
import { formatBytes, type LoadProgress } from "../src/index.ts"

/** A shorter upload needs no bar. */
const LONG_UPLOAD = 256 * 2 ** 20
const LINE_MS = 5000

/** Shows on stderr how far a download or a long upload is: a bar on a terminal, elsewhere a line every few seconds. */
export class ProgressDisplay {
  #phase: LoadProgress["phase"] | undefined
  #bar: cliProgress.SingleBar | undefined

  /** What is under way, as far as it was told. */
  get phase(): LoadProgress["phase"] | undefined {
    return this.#phase
  }

  update(progress: LoadProgress): void {
    const { phase, loaded, total } = progress
    if (phase !== this.#phase) {
      this.stop()
      this.#phase = phase
    }
    if (!this.#bar) {
      const shown = loaded < total && (phase === "download" || (process.stderr.isTTY && total >= LONG_UPLOAD))
      if (!shown) return
      this.#bar = createBar()
      this.#bar.start(total, loaded, { progress })
    }
    this.#bar.update(loaded, { progress })
    if (loaded >= total) this.stop()
  }

  stop(): void {
    this.#bar?.stop()
    this.#bar = undefined
  }
}

/** How every bar looks. */
export const BAR: cliProgress.Options = {
  stream: process.stderr,
  barsize: 24,
  barCompleteChar: "=",
  barIncompleteChar: "-",
  hideCursor: true,
  clearOnComplete: true,
}

function createBar(): cliProgress.SingleBar {
  return new cliProgress.SingleBar({
    ...BAR,
    noTTYOutput: true,
    notTTYSchedule: LINE_MS,
    format: (options, params, { progress }: { progress: LoadProgress }) => {
      const line = formatProgress(progress)
      if (!process.stderr.isTTY) return `gemlet: ${line}`
      return `[${cliProgress.Format.BarFormat(params.progress, options)}] ${line}`
    },
  })
}

/** ` 45 %  120.0 MiB of 536.0 MiB  10.1 MiB/s  45 s left  model.safetensors`. */
export function formatProgress(progress: LoadProgress): string {
  const { loaded, total } = progress
  const percent = `${Math.floor((100 * loaded) / Math.max(1, total))} %`.padStart(5)
  const amount = `${formatBytes(loaded)} of ${formatBytes(total)}`
  if (progress.phase === "upload") return [percent, amount, "to the device"].join("  ")
  const speed = `${formatBytes(Math.round(progress.bytesPerSecond))}/s`
  const left = progress.secondsLeft === undefined ? "waiting" : `${formatDuration(progress.secondsLeft)} left`
  return [percent, amount, speed, left, progress.file].join("  ")
}

/** `45 s`, `3 min 20 s`, `2 h 05 min`. */
export function formatDuration(seconds: number): string {
  const s = Math.ceil(seconds)
  if (s < 60) return `${s} s`
  const two = (n: number) => String(n).padStart(2, "0")
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`
  return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`
}
