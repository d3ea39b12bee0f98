/** How far a download is, over all of its files. */
export interface DownloadProgress {
  /** The file in transfer. */
  file: string
  /** Bytes here already, earlier runs included. */
  loaded: number
  total: number
  /** Over the last seconds, received bytes only. */
  bytesPerSecond: number
  /** Undefined while nothing arrives. */
  secondsLeft: number | undefined
}

const WINDOW = 5000 // ms of history that the speed is taken from
const INTERVAL = 100 // ms between reports

/** Adds up the bytes of several files and reports them a few times a second. */
export class ProgressMeter {
  readonly #total: number
  readonly #report: ((progress: DownloadProgress) => void) | undefined
  readonly #now: () => number
  #file = ""
  #finished = 0
  #current = 0
  #received = 0
  #reported = Number.NEGATIVE_INFINITY
  #samples: { time: number; received: number }[] = []

  constructor(total: number, report?: (progress: DownloadProgress) => void, now = () => performance.now()) {
    this.#total = total
    this.#report = report
    this.#now = now
  }

  /** Starts or restarts a file of which `loaded` bytes are here. */
  place(file: string, loaded: number): void {
    const moved = this.#file !== file || this.#current !== loaded
    this.#file = file
    this.#current = loaded
    if (this.#samples.length === 0) this.#samples.push({ time: this.#now(), received: 0 })
    if (moved) this.#tell(true)
  }

  receive(bytes: number): void {
    this.#current += bytes
    this.#received += bytes
    this.#tell(false)
  }

  /** The file is verified and in its place. */
  finish(file: string, size: number): void {
    this.#file = file
    this.#finished += size
    this.#current = 0
    this.#tell(true)
  }

  #tell(always: boolean): void {
    const time = this.#now()
    if (!always && time - this.#reported < INTERVAL) return
    this.#reported = time
    this.#samples.push({ time, received: this.#received })
    while (this.#samples.length > 2 && time - this.#samples[0]!.time > WINDOW) this.#samples.shift()
    const first = this.#samples[0]!
    const seconds = (time - first.time) / 1000
    const bytesPerSecond = seconds > 0 ? (this.#received - first.received) / seconds : 0
    const loaded = this.#finished + this.#current
    const secondsLeft = bytesPerSecond > 0 ? (this.#total - loaded) / bytesPerSecond : undefined
    this.#report?.({ file: this.#file, loaded, total: this.#total, bytesPerSecond, secondsLeft })
  }
}

/** In decimal units, as disks and downloads are counted. */
export function formatBytes(bytes: number): string {
  const units = ["bytes", "KB", "MB", "GB", "TB", "PB"]
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3))
  return `${power === 0 ? bytes : (bytes / 1000 ** power).toFixed(1)} ${units[power]}`
}
