import { describe, expect, test } from "vitest"
import { Life } from "../../src/serve/life.ts"
import { eventStream } from "../../src/serve/sse.ts"

const QUICK = { stallMs: 30, keepAliveMs: 1000 }

function life(): Life {
  return new Life(new AbortController().signal, 60_000)
}

/** Objects as an answer gives them: they end with an error when the life does. */
async function* objects(
  count: number,
  text: string,
  each: Life,
  taken: number[] = [],
): AsyncGenerator<object, void, void> {
  try {
    for (let i = 0; i < count; i++) {
      each.signal.throwIfAborted()
      taken.push(i)
      yield { i, text }
    }
  } finally {
    taken.push(-1)
  }
}

describe("eventStream", () => {
  test("sends objects and [DONE], and tells once when it is over", async () => {
    const each = life()
    let ends = 0
    const response = await eventStream(objects(2, "a\n\nb", each), each, QUICK, () => ends++)
    expect(response.headers.get("content-type")).toBe("text/event-stream")
    expect(await response.text()).toBe(
      'data: {"i":0,"text":"a\\n\\nb"}\n\ndata: {"i":1,"text":"a\\n\\nb"}\n\ndata: [DONE]\n\n',
    )
    expect(ends).toBe(1)
  })

  test("throws what happens before the first object, sends what happens later", async () => {
    const each = life()
    async function* failing(after: number): AsyncGenerator<object, void, void> {
      yield* objects(after, "x", each)
      throw new Error("the GPU is gone")
    }
    await expect(eventStream(failing(0), each, QUICK, () => {})).rejects.toThrow("the GPU is gone")
    const text = await (await eventStream(failing(1), each, QUICK, () => {})).text()
    const last = text.trim().split("\n\n").at(-1)!
    expect(JSON.parse(last.replace("data: ", ""))).toEqual({
      error: { message: "the GPU is gone", type: "server_error", param: null, code: "internal_error" },
    })
    expect(text).not.toContain("[DONE]")
  })

  test("gives up on a reader that does not read, after what fits the buffer", async () => {
    const each = life()
    const taken: number[] = []
    const over = new Promise<void>((resolve) => {
      void eventStream(objects(100, "x".repeat(65_536), each, taken), each, QUICK, resolve).then(() => {})
    })
    await over
    expect(each.ended).toBe("slow")
    expect(taken.at(-1)).toBe(-1) // the answer was left, and so was its turn
    expect(taken.length).toBeLessThan(10)
  })

  test("waits for a reader that reads slowly, and loses nothing", async () => {
    const each = life()
    const response = await eventStream(
      objects(30, "x".repeat(65_536), each),
      each,
      { ...QUICK, stallMs: 5000 },
      () => {},
    )
    let text = ""
    for await (const chunk of response.body!) {
      text += new TextDecoder().decode(chunk)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    expect(text.match(/"i":\d+/g)).toEqual(Array.from({ length: 30 }, (_, i) => `"i":${i}`))
    expect(text.endsWith("data: [DONE]\n\n")).toBe(true)
    expect(each.ended).toBeUndefined()
  })

  test("ends the life of a reader that leaves", async () => {
    const each = life()
    const taken: number[] = []
    const over = new Promise<void>((resolve) => {
      void eventStream(
        objects(100, "x".repeat(65_536), each, taken),
        each,
        { ...QUICK, stallMs: 60_000 },
        resolve,
      ).then((response) => response.body!.cancel())
    })
    await over
    expect(each.ended).toBe("left")
    expect(taken.at(-1)).toBe(-1)
  })

  test("keeps a silent connection alive with comments, and begins it without a first object", async () => {
    const each = life()
    async function* slow(): AsyncGenerator<object, void, void> {
      await new Promise((resolve) => setTimeout(resolve, 150))
      yield { first: true }
    }
    const response = await eventStream(slow(), each, { stallMs: 1000, keepAliveMs: 20 }, () => {})
    const text = await response.text()
    expect(text).toMatch(/^(: waiting\n\n)+data: \{"first":true\}\n\ndata: \[DONE\]\n\n$/)
  })
})
