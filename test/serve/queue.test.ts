import { describe, expect, test } from "vitest"
import { ApiError } from "../../src/serve/errors.ts"
import { Queue } from "../../src/serve/queue.ts"

const forever = new AbortController().signal

/** Asks for turns with these keys at once. What runs is in `running` until its `end` is called. */
function asked(queue: Queue, keys: readonly string[]) {
  const running = new Map<number, () => void>()
  for (const [i, key] of keys.entries()) {
    void queue.turn(key, new AbortController().signal, false).then((done) => {
      const end = () => {
        running.delete(i)
        done()
        done() // twice is once
      }
      running.set(i, end)
    })
  }
  return { running, end: (i: number) => running.get(i)!() }
}

/** Until promises that can settle have. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 1))

describe("Queue", () => {
  test("gives turns in the order in which they were asked for, as many at once as there is room", async () => {
    const queue = new Queue(10, 2)
    const { running, end } = asked(queue, ["a", "a", "a", "a", "a"])
    await settled()
    expect([...running.keys()]).toEqual([0, 1])
    expect([queue.running, queue.waiting, queue.room]).toEqual([2, 3, 2])
    end(1)
    await settled()
    expect([...running.keys()]).toEqual([0, 2])
    end(0)
    end(2)
    await settled()
    expect([...running.keys()]).toEqual([3, 4])
    end(3)
    end(4)
    expect([queue.running, queue.waiting]).toEqual([0, 0])
  })

  test("lets turns of one key only be underway, and nobody overtake", async () => {
    const queue = new Queue(10, 3)
    const { running, end } = asked(queue, ["a", "a", "b", "a", "b", "b"])
    await settled()
    expect([...running.keys()]).toEqual([0, 1]) // the next a would overtake a b
    end(0)
    await settled()
    expect([...running.keys()]).toEqual([1])
    end(1)
    await settled()
    expect([...running.keys()]).toEqual([2])
    end(2)
    await settled()
    expect([...running.keys()]).toEqual([3])
    end(3)
    await settled()
    expect([...running.keys()]).toEqual([4, 5])
  })

  test("refuses who would be one too many, but not who comes again", async () => {
    const queue = new Queue(1, 1)
    const done = await queue.turn("a", forever, false)
    const second = queue.turn("a", forever, false)
    const refused = await queue.turn("a", forever, false).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(ApiError)
    expect(refused).toMatchObject({ status: 429, details: { headers: { "Retry-After": "1" } } })
    const again = queue.turn("a", forever, true)
    expect(queue.waiting).toBe(2)
    done()
    ;(await second)()
    ;(await again)()
    expect([queue.running, queue.waiting]).toEqual([0, 0])
  })

  test("says how long the wait is: shorter, the more there is room for", async () => {
    const seconds = async (room: number) => {
      const queue = new Queue(12, room)
      asked(queue, new Array<string>(room + 12).fill("a"))
      const { details } = (await queue.turn("a", forever, false).catch((error: unknown) => error)) as ApiError
      return Number(details.headers!["Retry-After"])
    }
    expect([await seconds(1), await seconds(4)]).toEqual([12, 3]) // a turn counts a second until one has ended
  })

  test("of none waiting still gives a turn when nobody has one", async () => {
    const queue = new Queue(0, 1)
    const done = await queue.turn("a", forever, false)
    await expect(queue.turn("a", forever, false)).rejects.toMatchObject({ status: 429 })
    done()
    expect(await queue.turn("b", forever, false)).toBeTypeOf("function")
  })

  test("lets who waits leave, and gives nobody's turn away", async () => {
    const queue = new Queue(10, 1)
    const done = await queue.turn("a", forever, false)
    const controller = new AbortController()
    const leaving = queue.turn("a", controller.signal, false)
    const staying = queue.turn("a", forever, false)
    controller.abort(new Error("gone"))
    await expect(leaving).rejects.toThrow("gone")
    expect(queue.waiting).toBe(1)
    done()
    ;(await staying)()
    await expect(queue.turn("a", controller.signal, false)).rejects.toThrow("gone")
    expect([queue.running, queue.waiting]).toEqual([0, 0])
  })

  test("gives a turn to those who waited for one of another key that left", async () => {
    const queue = new Queue(10, 2)
    await queue.turn("a", forever, false)
    const controller = new AbortController()
    const other = queue.turn("b", controller.signal, false)
    const same = queue.turn("a", forever, false)
    controller.abort(new Error("gone"))
    await expect(other).rejects.toThrow("gone")
    expect(await same).toBeTypeOf("function")
    expect([queue.running, queue.waiting]).toEqual([2, 0])
  })
})
