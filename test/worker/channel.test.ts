import { describe, expect, onTestFinished, test } from "vitest"
import { GpuError, HubError } from "../../src/index.ts"
import { Channel } from "../../src/worker/channel.ts"
import { Engine } from "../../src/worker/engine.ts"
import type { Method } from "../../src/worker/messages.ts"
import { type Handlers, Moved } from "../../src/worker/served.ts"
import { fromWire, toWire, WorkerError } from "../../src/worker/wire_errors.ts"

type Calls = {
  double: Method<number, number, string>
  bytes: Method<Uint8Array, Uint8Array>
  wait: Method<null>
  count: Method<{ readonly to: number }, string, never, number>
}
type None = Record<never, never>

/** Two ends, one of which counts, and what has happened there. */
function ends() {
  const { port1, port2 } = new MessageChannel()
  const seen = { made: 0, ended: false, given: undefined as Uint8Array | undefined }
  const handlers: Handlers<Calls> = {
    double: (x, { tell }) => {
      tell(`doubling ${x}`)
      if (x < 0) throw new RangeError(`double: x is ${x}, expected from 0 on`)
      return Promise.resolve(2 * x)
    },
    bytes: (bytes) => {
      seen.given = bytes
      return new Moved(bytes)
    },
    wait: (_, { signal }) =>
      new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error))),
    async *count({ to }) {
      try {
        for (let i = 1; i <= to; i++) {
          seen.made = i
          yield i
        }
        return "all"
      } finally {
        seen.ended = true
      }
    },
  }
  const host = new Channel<None, Calls, string>(port2, { handlers })
  const heard: string[] = []
  const onNotice = (notice: string) => heard.push(notice)
  const page = new Channel<Calls, None, never, string>(port1, { handlers: {}, onNotice })
  onTestFinished(() => {
    page.end(new Error("test: is over"))
    port1.close()
  })
  return { page, host, port: port2, seen, heard }
}

const later = (ms = 20) => new Promise((done) => setTimeout(done, ms))

describe("Channel", () => {
  test("call gives the result, after its events and what was told before it", async () => {
    const { page, host, heard } = ends()
    const events: string[] = []
    host.notify("before")
    expect(await page.call("double", 4, { onEvent: (event) => events.push(event) })).toBe(8)
    expect(events).toEqual(["doubling 4"])
    expect(heard).toEqual(["before"])
  })

  test("call rejects with the class and message of the other end", async () => {
    const { page } = ends()
    const error = await page.call("double", -1).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(RangeError)
    expect((error as Error).message).toBe("double: x is -1, expected from 0 on")
  })

  test("call moves what is nobody else's, and copies what it is given", async () => {
    const { page, seen } = ends()
    const given = Uint8Array.of(1, 2, 3)
    expect(await page.call("bytes", given)).toEqual(given)
    expect(seen.given!.buffer.byteLength).toBe(0)
  })

  test("call cancels at the other end, and throws the signal's own reason", async () => {
    const { page } = ends()
    for (const reason of [new Error("enough"), "enough", new DOMException("enough", "AbortError")]) {
      const controller = new AbortController()
      const waiting = page.call("wait", null, { signal: controller.signal })
      controller.abort(reason)
      await expect(waiting).rejects.toBe(reason)
      await expect(page.call("wait", null, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    }
  })

  test("call refuses what cannot go across", async () => {
    const { page } = ends()
    const call = page.call("bytes", (() => {}) as never)
    await expect(call).rejects.toThrow("bytes: arguments cannot go across threads, expected plain values")
  })

  test("stream gives items and the result, and has no more made than were asked for", async () => {
    const { page, seen } = ends()
    const stream = page.stream("count", { to: 20 }, { ahead: 3 })
    expect((await stream.next()).value).toBe(1)
    await later()
    expect(seen.made).toBe(3)
    expect((await stream.next()).value).toBe(2)
    await later()
    expect(seen.made).toBe(4)
    const rest: number[] = []
    for (;;) {
      const next = await stream.next()
      if (next.done) {
        expect(next.value).toBe("all")
        break
      }
      rest.push(next.value)
    }
    expect(rest).toEqual(Array.from({ length: 18 }, (_, i) => i + 3))
  })

  test("stream that is left has ended at the other end when leaving is done", async () => {
    const { page, seen } = ends()
    for await (const _ of page.stream("count", { to: 1e6 }, { ahead: 2 })) break
    expect(seen.ended).toBe(true)
    expect(seen.made).toBeLessThan(5)
  })

  test("end rejects what is underway and what comes later, at both ends", async () => {
    const { page, host, seen } = ends()
    const waiting = page.call("wait", null)
    const stream = page.stream("count", { to: 1e6 }, { ahead: 1 })
    await stream.next()
    page.end(new WorkerError("terminated", "worker: engine is terminated"))
    await expect(waiting).rejects.toThrow("worker: engine is terminated")
    await expect(stream.next()).rejects.toThrow(WorkerError)
    await expect(page.call("double", 1)).rejects.toThrow(WorkerError)
    await later()
    expect(seen.ended).toBe(true)
    expect(host.ended!.message).toBe("worker: engine is terminated")
  })

  test("a port that closes at the other end is a death", async () => {
    const { page, port } = ends()
    const waiting = page.call("wait", null)
    port.close()
    const error: unknown = await waiting.catch((error: unknown) => error)
    expect(error).toBeInstanceOf(WorkerError)
    expect((error as WorkerError).kind).toBe("died")
    expect((error as WorkerError).message).toMatch(/port is closed/)
  })
})

describe("Engine", () => {
  /** A Worker whose script never answers. */
  class SilentWorker extends EventTarget {
    terminated = false
    postMessage(): void {}
    terminate(): void {
      this.terminated = true
    }
  }

  test.each([
    [new Event("error"), /its script cannot be loaded/],
    [
      Object.assign(new Event("error"), { message: "out of memory", filename: "a.js", lineno: 3 }),
      /out of memory \(a.js:3\)/,
    ],
    [new Event("messageerror"), /a message cannot be read/],
  ])("rejects all that is asked for when its worker dies", async (event, message) => {
    const worker = new SilentWorker()
    const engine = new Engine(worker)
    const loading = engine.load()
    expect(engine.ended).toBeUndefined()
    worker.dispatchEvent(event)
    await expect(loading).rejects.toThrow(message)
    await expect(engine.open()).rejects.toThrow(WorkerError)
    expect(engine.ended).toBeInstanceOf(WorkerError)
    expect(worker.terminated).toBe(true)
  })

  test("terminate says that it was the page", async () => {
    const worker = new SilentWorker()
    const engine = new Engine(worker)
    const loading = engine.load()
    engine.terminate()
    await expect(loading).rejects.toMatchObject({ name: "WorkerError", kind: "terminated" })
    expect(worker.terminated).toBe(true)
  })

  test("without a thread needs a Worker, and says so", () => {
    expect(() => new Engine()).toThrow("worker: Worker is missing, expected a browser")
  })
})

describe("errors across threads", () => {
  const across = (error: unknown) => fromWire(structuredClone(toWire(error)))

  test.each([Error, RangeError, TypeError, SyntaxError])("%o keeps class, message, stack and cause", (Class) => {
    const error = new Class("x: y is 1, expected 2", { cause: new TypeError("inner", { cause: "text" }) })
    const copy = across(error)
    expect(copy).toBeInstanceOf(Class)
    expect([copy.message, copy.stack]).toEqual([error.message, error.stack])
    expect(copy.cause).toBeInstanceOf(TypeError)
    expect(((copy.cause as Error).cause as Error).message).toBe("text")
  })

  test("GpuError keeps its kind, HubError its code, DOMException its name, others theirs", () => {
    expect(across(new GpuError("lost", "gone"))).toMatchObject({ name: "GpuError", kind: "lost", message: "gone" })
    const hub = across(new HubError("server", "busy", { retryAfter: 500 }))
    expect(hub).toBeInstanceOf(HubError)
    expect(hub).toMatchObject({ code: "server", retryAfter: 500 })
    const abort = across(new DOMException("stopped", "AbortError"))
    expect(abort).toBeInstanceOf(DOMException)
    expect(abort.name).toBe("AbortError")
    expect(across(Object.assign(new Error("odd"), { name: "OddError" })).name).toBe("OddError")
    expect(across("text").message).toBe("text")
  })

  test("an error that is its own cause ends", () => {
    const error = new Error("round")
    error.cause = error
    expect(across(error).message).toBe("round")
  })
})
