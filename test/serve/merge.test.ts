import { describe, expect, test } from "vitest"
import { Merge } from "../../src/serve/merge.ts"

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Gives a name so many times, waiting before each, and ends with how often it did. */
async function* repeated(name: string, times: number, ms: number, steps: string[] = []) {
  try {
    for (let i = 0; i < times; i++) {
      await pause(ms)
      steps.push(name)
      yield name
    }
    return times
  } finally {
    steps.push(`${name} left`)
  }
}

async function taken<T, R>(merge: Merge<T, R>): Promise<[number, T | R][]> {
  const all: [number, T | R][] = []
  for (let next = await merge.next(); next; next = await merge.next()) all.push([next.index, next.result.value])
  return all
}

describe("Merge", () => {
  test("gives what comes first first, and all of each in order", async () => {
    const merge = new Merge<string, number>()
    merge.add(0, repeated("slow", 2, 40))
    merge.add(1, repeated("quick", 3, 5))
    const all = await taken(merge)
    expect(all.slice(0, 4)).toEqual([...new Array(3).fill([1, "quick"]), [1, 3]])
    expect(all.slice(4)).toEqual([
      [0, "slow"],
      [0, "slow"],
      [0, 2],
    ])
  })

  test("takes turns among those that are ready", async () => {
    const merge = new Merge<string, number>()
    merge.add(0, repeated("a", 3, 0))
    merge.add(1, repeated("b", 3, 0))
    await pause(20)
    const names: unknown[] = []
    for (let i = 0; i < 6; i++) {
      names.push((await merge.next())!.result.value)
      await pause(5)
    }
    expect(names).toEqual(["a", "b", "a", "b", "a", "b"])
    await merge.close()
  })

  test("has each be one step ahead at most", async () => {
    const merge = new Merge<string, number>()
    const steps: string[] = []
    merge.add(0, repeated("a", 10, 0, steps))
    await merge.next()
    await pause(20)
    expect(steps).toEqual(["a", "a"])
    await merge.close()
  })

  test("throws what one throws, and leaves the others when closed", async () => {
    const merge = new Merge<string, number>()
    const steps: string[] = []
    async function* failing(): AsyncGenerator<string, number, void> {
      await pause(20)
      yield "b"
      throw new Error("the GPU is gone")
    }
    merge.add(0, repeated("a", 1000, 2, steps))
    merge.add(1, failing())
    await expect(taken(merge)).rejects.toThrow("the GPU is gone")
    await merge.close()
    expect(steps.at(-1)).toBe("a left")
  })

  test("of none is over", async () => {
    expect(await new Merge().next()).toBeUndefined()
  })
})
