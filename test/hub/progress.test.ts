import { expect, test } from "vitest"
import { type DownloadProgress, ProgressMeter } from "../../src/hub/progress.ts"

test("ProgressMeter takes the speed from the last seconds, and not from resumed bytes", () => {
  let time = 0
  const seen: DownloadProgress[] = []
  const meter = new ProgressMeter(
    20_000,
    (progress) => seen.push(progress),
    () => time,
  )
  meter.place("a", 4000)
  expect(seen.at(-1)).toEqual({ file: "a", loaded: 4000, total: 20_000, bytesPerSecond: 0, secondsLeft: undefined })
  for (let i = 0; i < 10; i++) {
    time += 1000
    meter.receive(1000)
  }
  expect(seen.at(-1)).toMatchObject({ loaded: 14_000, bytesPerSecond: 1000, secondsLeft: 6 })
  for (let i = 0; i < 10; i++) {
    time += 1000
    meter.receive(100)
  }
  expect(seen.at(-1)).toMatchObject({ loaded: 15_000, bytesPerSecond: 100, secondsLeft: 50 })
})

test("ProgressMeter adds the files up and reports at most ten times a second", () => {
  let time = 0
  const seen: DownloadProgress[] = []
  const meter = new ProgressMeter(
    3000,
    (progress) => seen.push(progress),
    () => time,
  )
  meter.place("a", 0)
  for (let i = 0; i < 1000; i++) {
    time += 1
    meter.receive(1)
  }
  meter.finish("a", 1000)
  meter.finish("b", 2000)
  expect(seen.length).toBeLessThan(14)
  expect(seen.at(-1)).toMatchObject({ file: "b", loaded: 3000 })
})
