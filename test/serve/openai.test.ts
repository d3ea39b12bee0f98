import OpenAI from "openai"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import type { LanguageModel } from "../../src/index.ts"
import { createServer, type Server, type ServerOptions, serveApp } from "../../src/serve/index.ts"
import { generated, loadTiny, request, until } from "./helpers.ts"

const MESSAGES = [{ role: "user" as const, content: "Tell me a story about Lily." }]
const ID = { model: "tiny" }
const SAMPLING = { seed: 3, temperature: 1 }
let lm: LanguageModel
let server: Server | undefined

beforeAll(async () => {
  lm = await loadTiny({ sequences: 4 })
})
afterEach(async () => {
  await server?.close(0)
  server = undefined
})
afterAll(() => lm?.dispose())

/** A server on a free port, and OpenAI's client for it, which does not try again by itself. */
async function serve(options: ServerOptions = {}, apiKey = "any"): Promise<OpenAI> {
  server = await createServer(lm, { id: "tiny", port: 0, ...options })
  return new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 })
}

/** What the server says of who has a turn and who waits. */
async function health(): Promise<{ running: number; waiting: number }> {
  return (await fetch(`${server!.url}/health`)).json()
}

async function expectIdle(): Promise<void> {
  await until(async () => {
    const { running, waiting } = await health()
    return running === 0 && waiting === 0
  })
}

describe("OpenAI's client", () => {
  test("chats, whole and streamed, with the same text as generate for the same seed", async () => {
    const client = await serve()
    const { text, tokens } = await generated(lm, MESSAGES, { seed: 3, temperature: 1, maxTokens: 20 })
    const whole = await client.chat.completions.create({ ...ID, messages: MESSAGES, ...SAMPLING, max_tokens: 20 })
    expect(whole.choices[0]!.message.content).toBe(text)
    const stream = await client.chat.completions.create({
      ...ID,
      messages: MESSAGES,
      ...SAMPLING,
      max_tokens: 20,
      stream: true,
      stream_options: { include_usage: true },
    })
    const chunks: OpenAI.ChatCompletionChunk[] = []
    for await (const chunk of stream) chunks.push(chunk)
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toBe(text)
    expect(chunks[0]!.choices[0]!.delta.role).toBe("assistant")
    expect(chunks.length).toBeGreaterThan(4)
    expect(chunks.at(-2)!.choices[0]!.finish_reason).toBe("length")
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: tokens.length } })
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1)
  })

  test("streams choices with their log-probabilities through its helper", async () => {
    const client = await serve()
    const body = { ...ID, messages: MESSAGES, ...SAMPLING, max_tokens: 6, n: 2, logprobs: true, top_logprobs: 2 }
    const whole = await client.chat.completions.create(body)
    const streamed = await client.chat.completions.stream(body).finalChatCompletion()
    for (const [i, choice] of whole.choices.entries()) {
      expect(streamed.choices[i]!.message.content).toBe(choice.message.content)
      expect(streamed.choices[i]!.logprobs!.content).toEqual(choice.logprobs!.content)
      expect(streamed.choices[i]!.finish_reason).toBe("length")
    }
  })

  test("completes texts, whole and streamed", async () => {
    const client = await serve()
    const body = { ...ID, prompt: ["Once upon a time", "One day"], seed: 1, max_tokens: 6, echo: true }
    const whole = await client.completions.create(body)
    const streamed = ["", ""]
    for await (const { choices } of await client.completions.create({ ...body, stream: true })) {
      for (const { index, text } of choices) streamed[index] += text
    }
    expect(streamed).toEqual(whole.choices.map(({ text }) => text))
    expect(streamed[1]).toMatch(/^One day/)
  })

  test("streamed log-probabilities of completions join to those of the whole", async () => {
    const client = await serve()
    const body = { ...ID, prompt: "Once upon a time", seed: 1, max_tokens: 6, logprobs: 2 }
    const { logprobs } = (await client.completions.create(body)).choices[0]!
    const tokens: string[] = []
    const offsets: number[] = []
    for await (const { choices } of await client.completions.create({ ...body, stream: true })) {
      tokens.push(...(choices[0]!.logprobs?.tokens ?? []))
      offsets.push(...(choices[0]!.logprobs?.text_offset ?? []))
    }
    expect(tokens).toEqual(logprobs!.tokens)
    expect(offsets).toEqual(logprobs!.text_offset)
  })

  test("lists models and finds one", async () => {
    const client = await serve()
    const { data } = await client.models.list()
    expect(data.map(({ id }) => id)).toEqual(["tiny"])
    expect((await client.models.retrieve("tiny")).object).toBe("model")
    await expect(client.models.retrieve("owner/name")).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  })

  test("throws its own classes", async () => {
    const client = await serve({ apiKey: "secret" }, "secret")
    const chat = (body: object) => client.chat.completions.create({ ...ID, messages: MESSAGES, ...body })
    await expect(chat({ temperature: -1 })).rejects.toBeInstanceOf(OpenAI.BadRequestError)
    await expect(chat({ temperature: -1, stream: true })).rejects.toBeInstanceOf(OpenAI.BadRequestError)
    await expect(chat({ temperature: -1 })).rejects.toMatchObject({ param: "temperature", status: 400 })
    await expect(chat({ model: "other" })).rejects.toBeInstanceOf(OpenAI.NotFoundError)
    const stranger = new OpenAI({ baseURL: `${server!.url}/v1`, apiKey: "wrong", maxRetries: 0 })
    await expect(stranger.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
    const large = chat({ messages: [{ role: "user", content: "x".repeat(3 * 2 ** 20) }] })
    await expect(large).rejects.toMatchObject({ status: 413, code: "body_too_large" })
  })
})

describe("a client that leaves", () => {
  const endless = { ...ID, prompt: "Once upon a time", max_tokens: 500, temperature: 2, n: 8 }
  const long = { ...ID, prompt: "Once upon a time", max_tokens: 60, temperature: 1, seed: 5, stream: true } as const

  test("in mid-stream frees its place", async () => {
    const client = await serve()
    const controller = new AbortController()
    const stream = await client.completions.create({ ...endless, stream: true }, { signal: controller.signal })
    let seen = 0
    for await (const _ of stream) if (++seen === 3) controller.abort()
    await expectIdle()
    expect((await client.completions.create({ ...ID, prompt: "a", max_tokens: 2 })).choices).toHaveLength(1)
  })

  test("before its answer is whole, or before its turn, frees its place", async () => {
    const client = await serve()
    const controllers = [new AbortController(), new AbortController()]
    const answers = controllers.map(({ signal }) => client.completions.create(endless, { signal }))
    for (const answer of answers) answer.catch(() => {})
    await until(async () => (await health()).waiting === 2) // of each request one answer
    controllers[1]!.abort()
    await until(async () => (await health()).waiting === 1)
    expect((await health()).running).toBe(4)
    controllers[0]!.abort()
    await expectIdle()
    for (const answer of answers) await expect(answer).rejects.toBeInstanceOf(OpenAI.APIUserAbortError)
  })

  test("does not disturb those whose answers are underway beside its own", async () => {
    const client = await serve()
    const { text } = await generated(lm, long.prompt, { seed: 5, temperature: 1, maxTokens: 60 })
    const controller = new AbortController()
    const leaving = await client.completions.create({ ...endless, stream: true }, { signal: controller.signal })
    await until(async () => (await health()).running === 4)
    const staying = client.completions.create(long)
    let seen = 0
    for await (const _ of leaving) if (++seen === 10) controller.abort()
    let streamed = ""
    for await (const { choices } of await staying) streamed += choices[0]!.text
    expect(streamed).toBe(text)
    await expectIdle()
  })

  test("without saying so holds up its own answer only, which goes on when it is read", async () => {
    const app = serveApp(lm, { id: "tiny", stallMs: 60_000 })
    const { text } = await generated(lm, MESSAGES, { seed: 5, temperature: 2, maxTokens: 120 })
    const asked = { messages: MESSAGES, n: 2, seed: 5, temperature: 2, max_tokens: 120, logprobs: true }
    const unread = await app.fetch(request("/v1/chat/completions", { ...asked, top_logprobs: 20, stream: true }))
    for (let i = 0; i < 2; i++) {
      const response = await app.fetch(request("/v1/completions", { prompt: "a", max_tokens: 40, n: 2, seed: i }))
      expect((await response.json()).choices).toHaveLength(2)
    }
    const { running, waiting } = await (await app.fetch(request("/health"))).json()
    expect(waiting).toBe(0)
    expect(running).toBeGreaterThanOrEqual(1) // of its two choices one may fit what is buffered
    const events = (await unread.text()).split("\n\n").filter((event) => event.startsWith("data: {"))
    const choices = events.map((event) => JSON.parse(event.slice(6)).choices[0])
    const deltas = choices.map(({ index, delta }) => (index === 0 ? (delta.content ?? "") : ""))
    expect(deltas.join("")).toBe(text)
    await app.close()
  })
})

describe("a full server", () => {
  test("answers 64 clients at once, each what generate gives for its seed", async () => {
    const settings = (i: number) => ({ temperature: 1, seed: i % 8, max_tokens: 1 + (i % 5) })
    const longest: string[][] = []
    for (let seed = 0; seed < 8; seed++) {
      const { tokens } = await generated(lm, "One day", { seed, temperature: 1, maxTokens: 5 })
      longest.push(tokens.map((_, i) => lm.tokenizer!.decode(tokens.slice(0, i + 1))))
    }
    const client = await serve()
    const clients = Array.from({ length: 64 }, (_, i) => i)
    const texts = await Promise.all(
      clients.map(async (i) => {
        const body = { ...ID, prompt: "One day", ...settings(i) }
        if (i % 2) return (await client.completions.create(body)).choices[0]!.text
        let text = ""
        for await (const { choices } of await client.completions.create({ ...body, stream: true })) {
          text += choices[0]!.text
        }
        return text
      }),
    )
    expect(texts).toEqual(clients.map((i) => longest[settings(i).seed]![settings(i).max_tokens - 1]))
    await expectIdle()
  })

  test("gives answers of a request at once, each as it comes, with others' between them", async () => {
    const client = await serve()
    const body = { ...ID, prompt: ["Once upon a time", "One day"], n: 3, max_tokens: 40, ...SAMPLING }
    const whole = await client.completions.create(body)
    const { text } = await generated(lm, "Once upon a time", { ...SAMPLING, maxTokens: 40 })
    expect(whole.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5])
    expect(whole.choices[0]!.text).toBe(text)
    const streamed = new Array<string>(6).fill("")
    const first: number[] = []
    const ended: number[] = []
    let short: Promise<unknown> | undefined
    for await (const { choices } of await client.completions.create({ ...body, stream: true })) {
      const { index, finish_reason, text } = choices[0]!
      short ??= client.completions.create({ ...ID, prompt: "a", max_tokens: 1 }).then(() => ended.push(-1))
      if (ended.length === 0 && !first.includes(index)) first.push(index)
      if (finish_reason) ended.push(index)
      streamed[index] += text
    }
    expect(streamed).toEqual(whole.choices.map(({ text }) => text))
    expect(first.length).toBeGreaterThan(1) // before any had ended
    await short
    expect(ended.indexOf(-1)).toBeLessThan(6) // it came later, and did not wait for all
    await expectIdle()
  })

  test("tells who runs and waits, and how many may run", async () => {
    const client = await serve()
    const controller = new AbortController()
    const body = { ...ID, prompt: "Once upon a time", max_tokens: 500, temperature: 2 }
    const answers = Array.from({ length: 6 }, () => client.completions.create(body, { signal: controller.signal }))
    for (const answer of answers) answer.catch(() => {})
    await until(async () => (await health()).waiting === 2)
    expect(await health()).toEqual({ status: "ok", model: "tiny", running: 4, waiting: 2, room: 4 })
    controller.abort()
    await expectIdle()
  })

  test("refuses one more with 429 and says when to come back, and the client's own retry gets through", async () => {
    const client = await serve({ maxQueue: 1 })
    const body = { ...ID, prompt: "One day", max_tokens: 40 }
    const others = Array.from({ length: 5 }, () => client.completions.create(body))
    await until(async () => (await health()).waiting === 1)
    const refused = await client.completions.create(body).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(OpenAI.RateLimitError)
    const { code, headers } = refused as InstanceType<typeof OpenAI.RateLimitError>
    expect(code).toBe("queue_full")
    expect(Number(headers!.get("retry-after"))).toBeGreaterThanOrEqual(1)
    const patient = client.completions.create({ ...body, stream: true }, { maxRetries: 5 })
    for (const answer of others) expect((await answer).choices).toHaveLength(1)
    let text = ""
    for await (const { choices } of await patient) text += choices[0]!.text
    expect(text.length).toBeGreaterThan(0)
  })

  test("ends an answer with length when its time is up, and is 503 before the first token", async () => {
    const client = await serve({ timeoutMs: 700 })
    const long = { ...ID, prompt: "Once upon a time", max_tokens: 500, n: 8, temperature: 2 }
    const { choices, usage } = await client.completions.create(long)
    expect(choices).toHaveLength(8)
    expect(choices.at(-1)!).toMatchObject({ finish_reason: "length", text: "" })
    expect(usage!.completion_tokens).toBeGreaterThan(0)
    await expectIdle()
    await server!.close()
    const hurried = await serve({ timeoutMs: 1 })
    const refused = await hurried.completions.create({ ...long, stream: true }).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(OpenAI.InternalServerError)
    expect(refused).toMatchObject({ status: 503, code: "timeout" })
    await expectIdle()
  })
})

describe("createServer", () => {
  test("close lets an answer end in time, cuts one that does not, and refuses new ones", async () => {
    const client = await serve()
    const short = client.completions.create({ ...ID, prompt: "One day", max_tokens: 4 })
    await until(async () => (await health()).running === 1)
    await server!.close(10_000)
    expect((await short).choices[0]!.text.length).toBeGreaterThan(0)

    const other = await serve()
    const stream = await other.completions.create({
      ...ID,
      prompt: "a",
      temperature: 2,
      max_tokens: 500,
      n: 8,
      stream: true,
    })
    const { url } = server!
    let closing: Promise<void> | undefined
    let last: string | null = null
    for await (const { choices } of stream) {
      closing ??= server!.close(100)
      last = choices[0]!.finish_reason
    }
    await closing
    expect(last).toBe("length")
    await expect(fetch(`${url}/health`)).rejects.toThrow()
  })

  test("names a port that is taken and an address that is none", async () => {
    await serve()
    const { port } = server!
    await expect(createServer(lm, { port })).rejects.toThrow(
      new RangeError(`serve: port ${port} is taken on 127.0.0.1, expected a free one (0 finds one)`),
    )
    await expect(createServer(lm, { port: 0, host: "192.0.2.1" })).rejects.toThrow(
      /host 192.0.2.1 is no address of this/,
    )
    await expect(createServer(lm, { port: 70_000 })).rejects.toThrow(/port is 70000, expected/)
  })
})
