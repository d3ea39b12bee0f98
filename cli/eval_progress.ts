import cliProgress from "cli-progress"
import type { Evaluated } from "../src/eval/index.ts"
import { note } from "./output.ts"
import { BAR, formatDuration } from "./progress.ts"

/** Shows on stderr how far a run is: a bar on a terminal, elsewhere a line every tenth. */
export class EvalProgress {
  readonly #quiet: boolean
  #bar: cliProgress.SingleBar | undefined

  /** @param quiet on a terminal alone */
  constructor(quiet: boolean) {
    this.#quiet = quiet
  }

  update(step: Evaluated): void {
    const { done, of } = step
    if (process.stderr.isTTY) {
      this.#bar ??= createBar(of)
      this.#bar.update(done, { step })
    } else if (!this.#quiet && Math.floor((10 * done) / of) > Math.floor((10 * (done - 1)) / of)) {
      note(statusOf(step))
    }
  }

  stop(): void {
    this.#bar?.stop()
    this.#bar = undefined
  }
}

function createBar(of: number): cliProgress.SingleBar {
  const bar = new cliProgress.SingleBar({
    ...BAR,
    format: (options, params, { step }: { step?: Evaluated }) =>
      `[${cliProgress.Format.BarFormat(params.progress, options)}] ${step ? statusOf(step) : ""}`,
  })
  bar.start(of, 0)
  return bar
}

/** `45 %  204 of 451  32 s left  blimp`. */
function statusOf({ done, of, secondsLeft, line }: Evaluated): string {
  const left = secondsLeft === undefined ? "" : `  ${formatDuration(secondsLeft)} left`
  return `${Math.floor((100 * done) / of)} %  ${done} of ${of}${left}  ${line.task}`
}
