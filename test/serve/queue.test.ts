import { describe, expect, test } from "vitest"
import { ApiError } from "../../src/serve/errors.ts"
import { Queue } from "../../src/serve/queue.ts"

const forever = new AbortController().signal

describe("Queue", () => {
  test("gives turns in the order in which they were asked for, one at a time", async () => {
    const queue = new Queue(10)
    const order: number[] = []
    let running = 0
    const work = async (i: number) => {
      const done = await queue.turn(forever, false)
      expect(++running).toBe(1)
      order.push(i)
      await new Promise((resolve) => setTimeout(resolve, 1))
      running--
      done()
      done() // twice is once
    }
    await Promise.all([0, 1, 2, 3, 4].map(work))
    expect(order).toEqual([0, 1, 2, 3, 4])
    expect([queue.running, queue.waiting]).toEqual([0, 0])
  })

  test("refuses who would be one too many, but not who comes again", async () => {
    const queue = new Queue(1)
    const done = await queue.turn(forever, false)
    const second = queue.turn(forever, false)
    const refused = await queue.turn(forever, false).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(ApiError)
    expect(refused).toMatchObject({ status: 429, details: { headers: { "Retry-After": "1" } } })
    const again = queue.turn(forever, true)
    expect(queue.waiting).toBe(2)
    done()
    ;(await second)()
    ;(await again)()
    expect([queue.running, queue.waiting]).toEqual([0, 0])
  })

  test("of none waiting still gives a turn when nobody has one", async () => {
    const queue = new Queue(0)
    const done = await queue.turn(forever, false)
    await expect(queue.turn(forever, false)).rejects.toMatchObject({ status: 429 })
    done()
    expect(await queue.turn(forever, false)).toBeTypeOf("function")
  })

  test("lets who waits leave, and gives nobody's turn away", async () => {
    const queue = new Queue(10)
    const done = await queue.turn(forever, false)
    const controller = new AbortController()
    const leaving = queue.turn(controller.signal, false)
    const staying = queue.turn(forever, false)
    controller.abort(new Error("gone"))
    await expect(leaving).rejects.toThrow("gone")
    expect(queue.waiting).toBe(1)
    done()
    ;(await staying)()
    await expect(queue.turn(controller.signal, false)).rejects.toThrow("gone")
    expect([queue.running, queue.waiting]).toEqual([0, 0])
  })
})
