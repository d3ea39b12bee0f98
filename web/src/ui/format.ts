import type { DownloadProgress } from "../engine.ts"

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"]

/** Bytes for people: `7.1 MiB`. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10))
  return `${power === 0 ? Math.round(bytes) : (bytes / 1024 ** power).toFixed(1)} ${UNITS[power]}`
}

/** A whole number for people: `2,048`. */
export function formatCount(count: number): string {
  return count.toLocaleString("en")
}

/** Tokens a second: two digits are as many as mean something. */
export function formatRate(rate: number): string {
  return `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tokens/s`
}

/** Seconds for people: `2 min 5 s`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.round(seconds)
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}

/** A day for people: `Nov 21, 2026`. */
export function formatDate(ms: number): string {
  return new Date(ms).toLocaleDateString("en", { dateStyle: "medium" })
}

/** How far a download is: `1.0 MiB of 7.1 MiB, 512.0 KiB/s, 12 s left`. */
export function formatProgress({ loaded, total, bytesPerSecond, secondsLeft }: DownloadProgress): string {
  const bytes = `${formatBytes(loaded)} of ${formatBytes(total)}`
  if (secondsLeft === undefined) return bytes
  return `${bytes}, ${formatBytes(bytesPerSecond)}/s, ${formatSeconds(secondsLeft)} left`
}
