import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, load } from "../../src/index.ts"
import { serveApp } from "../../src/serve/index.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { fixture } from "../helpers/golden.ts"
import { type Ask, asker, generated, loadTiny, request } from "./helpers.ts"

const HELLO = [{ role: "user", content: "Tell me a story about Lily." }]
let lm: LanguageModel
let ask: Ask

beforeAll(async () => {
  lm = await loadTiny()
  ask = asker(lm)
})
afterAll(() => lm?.dispose())

const chat = (body: object) => ask("/v1/chat/completions", { messages: HELLO, max_tokens: 2, ...body })
const complete = (body: object) => ask("/v1/completions", { prompt: "Once upon a time", max_tokens: 2, ...body })

describe("POST /v1/chat/completions", () => {
  test("answers what generate does for the same seed, with the counts", async () => {
    const { text, tokens } = await generated(lm, HELLO, { seed: 7, temperature: 1, maxTokens: 8 })
    const { status, json } = await chat({
      seed: 7,
      temperature: 1,
      max_tokens: 8,
      user: "someone",
      metadata: { a: "b" },
      new_field: 1,
    })
    expect(status).toBe(200)
    expect(json).toMatchObject({
      object: "chat.completion",
      model: "tiny",
      choices: [{ index: 0, message: { role: "assistant", content: text, refusal: null }, finish_reason: "length" }],
      usage: { completion_tokens: tokens.length, prompt_tokens: lm.encode(HELLO).length },
    })
    expect(json.usage.total_tokens).toBe(json.usage.prompt_tokens + json.usage.completion_tokens)
    expect(json.id).toMatch(/^chatcmpl-[0-9a-f]{32}$/)
    expect(json.system_fingerprint).toMatch(/^fp_[0-9a-f]{10}$/)
    expect(Math.abs(json.created - Date.now() / 1000)).toBeLessThan(60)
    expect(json.choices[0].logprobs).toBeNull()
  })

  test("ends at the model's end with stop, and before a stop string", async () => {
    const whole = await chat({ temperature: 0, max_tokens: null })
    expect(whole.json.choices[0].finish_reason).toBe("stop")
    const text: string = whole.json.choices[0].message.content
    for (const stop of [text.slice(20, 26), ["never said", text.slice(20, 26)]]) {
      const cut = await chat({ temperature: 0, max_tokens: null, stop })
      expect(cut.json.choices[0].message.content).toBe(text.slice(0, text.indexOf(text.slice(20, 26))))
      expect(cut.json.choices[0].finish_reason).toBe("stop")
    }
  })

  test("joins text parts, and takes a developer's message for the system's", async () => {
    const messages = (role: string, content: unknown) => [{ role, content }, ...HELLO]
    const plain = await chat({ seed: 1, messages: messages("system", "Be\nshort."), max_tokens: 6 })
    const parts = [
      { type: "text", text: "Be" },
      { type: "text", text: "short." },
    ]
    const joined = await chat({ seed: 1, messages: messages("developer", parts), max_tokens: 6 })
    expect(joined.json.usage.prompt_tokens).toBe(plain.json.usage.prompt_tokens)
    expect(joined.json.choices).toEqual(plain.json.choices)
  })

  test("gives n choices, the first as without n, the others with other seeds, all again for the same seed", async () => {
    const one = await chat({ seed: 5, max_tokens: 12, temperature: 1.5 })
    const [three, again] = await Promise.all(
      [1, 2].map(() => chat({ seed: 5, max_tokens: 12, n: 3, temperature: 1.5 })),
    )
    const texts = three!.json.choices.map((choice: { message: { content: string } }) => choice.message.content)
    expect(three!.json.choices.map((choice: { index: number }) => choice.index)).toEqual([0, 1, 2])
    expect(texts[0]).toBe(one.json.choices[0].message.content)
    expect(new Set(texts).size).toBe(3)
    expect(again!.json.choices).toEqual(three!.json.choices)
    expect(three!.json.usage.prompt_tokens).toBe(one.json.usage.prompt_tokens)
    expect(three!.json.usage.completion_tokens).toBe(36)
  })

  test("counts the tokens of a prompt that an earlier one had left in the cache", async () => {
    const first = await chat({ messages: [{ role: "user", content: "A story about a fox, please." }] })
    const prompt: number = first.json.usage.prompt_tokens
    const messages = [{ role: "user", content: "A story about a fox, please. With a moon." }]
    const { cached_tokens } = (await chat({ messages })).json.usage.prompt_tokens_details
    expect(cached_tokens).toBeGreaterThan(4)
    expect(cached_tokens).toBeLessThan(prompt)
  })

  test("takes max_tokens for an upper bound: the context ends an answer too", async () => {
    const messages = [{ role: "user", content: "the ".repeat(480) }]
    const { json } = await chat({ messages, max_tokens: 100_000, temperature: 0, stop: "never said" })
    expect(json.usage.total_tokens).toBeLessThanOrEqual(lm.context)
    expect(json.choices).toHaveLength(1)
  })

  test("gives the log-probability of each token and of the likeliest", async () => {
    const { json } = await chat({ temperature: 0, max_tokens: 4, logprobs: true, top_logprobs: 3 })
    const { content } = json.choices[0].logprobs
    expect(content).toHaveLength(4)
    for (const { token, logprob, bytes, top_logprobs } of content) {
      expect(Buffer.from(bytes).toString()).toBe(token)
      expect(top_logprobs).toHaveLength(3)
      expect(top_logprobs[0]).toEqual({ token, logprob, bytes }) // greedy takes the likeliest
      expect(logprob).toBeLessThanOrEqual(0)
    }
    const { logProbs } = await lm.score([
      ...lm.encode(HELLO),
      ...(await generated(lm, HELLO, { temperature: 0, maxTokens: 4 })).tokens,
    ])
    for (const [i, value] of [...logProbs.slice(-4)].entries()) expect(content[i].logprob).toBeCloseTo(value, 3)
    const without = await chat({ temperature: 0, max_tokens: 4, logprobs: true })
    expect(without.json.choices[0].logprobs.content[0].top_logprobs).toEqual([])
  })

  test("gives JSON of a schema, and any JSON object", async () => {
    const schema = {
      type: "object",
      properties: { n: { type: "boolean" } },
      required: ["n"],
      additionalProperties: false,
    }
    const format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema } }
    const { json } = await chat({ response_format: format, max_tokens: 60, seed: 2 })
    expect(Object.entries(JSON.parse(json.choices[0].message.content))).toEqual([["n", expect.any(Boolean)]])
    const any = await chat({ response_format: { type: "json_object" }, max_tokens: 120, seed: 2, temperature: 0 })
    expect(any.json.choices[0].message.content.trimStart()[0]).toBe("{")
    expect((await chat({ response_format: { type: "text" } })).status).toBe(200)
  })
})

describe("POST /v1/completions", () => {
  test("continues a text as generate does, 16 tokens if nothing is said", async () => {
    const { text } = await generated(lm, "Once upon a time", { seed: 7, temperature: 1, maxTokens: 16 })
    const { json } = await complete({ seed: 7, temperature: 1, max_tokens: undefined })
    expect(json).toMatchObject({
      object: "text_completion",
      choices: [{ index: 0, text, logprobs: null, finish_reason: "length" }],
      usage: { completion_tokens: 16 },
    })
    expect(json.id).toMatch(/^cmpl-/)
  })

  test("takes texts, token ids and several of either, n answers to each", async () => {
    const ids = lm.encode("Once upon a time")
    const one = (await complete({ temperature: 0 })).json.choices[0].text
    const other = (await complete({ temperature: 0, prompt: "One day" })).json.choices[0].text
    const texts = async (prompt: unknown, more = {}) => {
      const { json } = await complete({ temperature: 0, prompt, ...more })
      return json.choices.map((choice: { text: string }) => choice.text)
    }
    expect(await texts(ids)).toEqual([one])
    expect(await texts(["Once upon a time", "One day"])).toEqual([one, other])
    expect(await texts([ids, lm.encode("One day")], { n: 2 })).toEqual([one, one, other, other])
    const { json } = await complete({ prompt: ["Once upon a time", "One day"], n: 2 })
    expect(json.usage.prompt_tokens).toBe(ids.length + lm.encode("One day").length)
    expect(json.usage.completion_tokens).toBe(8)
  })

  test("begins with the prompt for echo", async () => {
    const ids = lm.encode("One day")
    const plain = (await complete({ temperature: 0, prompt: "One day" })).json.choices[0].text
    for (const prompt of ["One day", ids]) {
      const { json } = await complete({ temperature: 0, prompt, echo: true })
      expect(json.choices[0].text).toBe(`One day${plain}`)
    }
  })

  test("gives log-probabilities in the form of completions", async () => {
    const { json } = await complete({ temperature: 0, max_tokens: 4, logprobs: 2 })
    const { text, logprobs } = json.choices[0]
    expect(logprobs.tokens.join("")).toBe(text)
    for (const [i, token] of logprobs.tokens.entries()) {
      expect(text.slice(logprobs.text_offset[i])).toMatch(new RegExp(`^${token}`))
      expect(Object.keys(logprobs.top_logprobs[i])).toHaveLength(2)
      expect(logprobs.top_logprobs[i][token]).toBe(logprobs.token_logprobs[i])
    }
  })
})

describe("GET", () => {
  test("/v1/models and /v1/models/ID tell the model", async () => {
    const { json } = await ask("/v1/models")
    expect(json).toMatchObject({ object: "list", data: [{ id: "tiny", object: "model", owned_by: "gemlet" }] })
    expect((await ask("/v1/models/tiny")).json).toEqual(json.data[0])
    const { status, json: missing } = await ask("/v1/models/some%2Fother")
    expect(status).toBe(404)
    expect(missing.error).toMatchObject({ code: "model_not_found", param: "model" })
  })

  test("/health tells who waits", async () => {
    expect((await ask("/health")).json).toEqual({ status: "ok", model: "tiny", running: 0, waiting: 0, room: 1 })
  })

  test("another path is 404 with the routes that are there", async () => {
    const { status, json } = await ask("/v1/embeddings", {})
    expect(status).toBe(404)
    expect(json.error.message).toBe(
      "POST /v1/embeddings: no such route, expected one of POST /v1/chat/completions, POST /v1/completions, GET /v1/models, GET /v1/models/ID, GET /health",
    )
  })
})

describe("a bad request", () => {
  const image = { role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }
  test.each([
    ["messages", { messages: undefined }],
    ["messages", { messages: [] }],
    ["messages[0]", { messages: ["Hello"] }],
    ["messages[0].role", { messages: [{ role: "tool", content: "x" }] }],
    ["messages[0].role", { messages: [{ role: "toString", content: "x" }] }],
    ["messages[0].content", { messages: [{ role: "user" }] }],
    ["messages[0].content[0].type", { messages: [image] }],
    ["messages[0].tool_calls", { messages: [{ role: "assistant", content: "", tool_calls: [{}] }] }],
    ["temperature", { temperature: -1 }],
    ["temperature", { temperature: "1" }],
    ["top_p", { top_p: 0 }],
    ["top_k", { top_k: 1.5 }],
    ["min_p", { min_p: 1 }],
    ["repetition_penalty", { repetition_penalty: 0 }],
    ["max_tokens", { max_tokens: 0 }],
    ["max_completion_tokens", { max_completion_tokens: 2 ** 60 }],
    ["seed", { seed: -1 }],
    ["n", { n: 9 }],
    ["stop", { stop: [""] }],
    ["stop", { stop: 3 }],
    ["stop", { stop: Array.from({ length: 257 }, (_, i) => `${i}`) }],
    ["stream", { stream: "yes" }],
    ["stream_options", { stream_options: { include_usage: true } }],
    ["top_logprobs", { logprobs: true, top_logprobs: 21 }],
    ["top_logprobs", { top_logprobs: 2 }],
    ["response_format.type", { response_format: { type: "grammar" } }],
    ["response_format.json_schema.schema", { response_format: { type: "json_schema", json_schema: { name: "x" } } }],
    ["tools", { tools: [{ type: "function" }] }],
    ["tool_choice", { tool_choice: "required" }],
    ["logit_bias", { logit_bias: { 5: 1 } }],
    ["frequency_penalty", { frequency_penalty: 0.5 }],
    ["presence_penalty", { presence_penalty: 0.5 }],
    ["audio", { audio: { voice: "x" } }],
    ["modalities", { modalities: ["text", "audio"] }],
    ["adapter", { adapter: "none-such" }],
    ["adapter", { adapter: [1] }],
  ])("to chat is 400 and names %s", async (param, body) => {
    const { status, json } = await chat(body)
    expect(json.error.param).toBe(param)
    expect(status).toBe(400)
    expect(json.error.message).toMatch(new RegExp(`^${param.replace(/[[\].]/g, "\\$&")}: .*expected`))
    expect(json.error.type).toBe("invalid_request_error")
  })

  test.each([
    ["prompt", { prompt: undefined }],
    ["prompt", { prompt: "" }],
    ["prompt", { prompt: [] }],
    ["prompt", { prompt: ["a", 1] }],
    ["prompt", { prompt: [4096] }],
    ["prompt", { prompt: [1.5] }],
    ["prompt", { prompt: Array.from({ length: 129 }, () => "a") }],
    ["suffix", { suffix: "end" }],
    ["best_of", { best_of: 3 }],
    ["echo", { echo: true, logprobs: 1 }],
    ["logprobs", { logprobs: true }],
  ])("to completions is 400 and names %s", async (param, body) => {
    const { status, json } = await complete(body)
    expect(json.error.param).toBe(param)
    expect(status).toBe(400)
  })

  test("null and values that ask for nothing are taken", async () => {
    const nothing = { tools: [], tool_choice: "none", logit_bias: {}, frequency_penalty: 0, store: false, audio: null }
    expect((await chat({ ...nothing, seed: null, stop: null, stream: null, n: null })).status).toBe(200)
  })

  test("a prompt beyond the context names both lengths", async () => {
    const { status, json } = await complete({ prompt: Array.from({ length: 512 }, () => 300) })
    expect(status).toBe(400)
    expect(json.error).toMatchObject({ code: "context_length_exceeded", param: "prompt" })
    expect(json.error.message).toMatch(/512 tokens, expected fewer than the context of 512/)
  })

  test("a text that no context could hold is refused before it is made into tokens", async () => {
    const began = performance.now()
    const long = " ".repeat(1_000_000)
    for (const { status, json } of [
      await complete({ prompt: long }),
      await chat({ messages: [{ role: "user", content: long }] }),
    ]) {
      expect(status).toBe(400)
      expect(json.error.message).toMatch(/text has 1000000 characters, expected what 512 tokens, the context, can hold/)
    }
    expect(performance.now() - began).toBeLessThan(1000) // its tokens take several seconds
  })

  test("a schema that the engine refuses is the client's to correct", async () => {
    const format = { type: "json_schema", json_schema: { name: "x", schema: { type: "elephant" } } }
    const { status, json } = await chat({ response_format: format })
    expect(status).toBe(400)
    expect(json.error.message).toContain("elephant")
  })

  test("an unknown model is 404", async () => {
    const { status, json } = await chat({ model: "gpt-4o" })
    expect(status).toBe(404)
    expect(json.error.message).toBe('model: value is "gpt-4o", expected one of tiny')
  })

  test.each([
    ["malformed JSON", "{", 400, /text is malformed, expected JSON/],
    ["nothing", "", 400, /text is malformed, expected JSON/],
    ["no object", "[1]", 400, /value is \[1\], expected an object/],
    ["deep nesting", `{"messages":${"[".repeat(200_000)}`, 400, /body: text is malformed/],
    ["a large body", JSON.stringify({ prompt: "x".repeat(2 ** 20) }), 413, /bytes, expected at most 1048576/],
  ])("of %s is refused", async (_, body, status, message) => {
    const answer = await ask("/v1/completions", body)
    expect(answer.status).toBe(status)
    expect(answer.json.error.message).toMatch(message)
  })

  test("a body that grows beyond the limit without saying its length is refused", async () => {
    const app = serveApp(lm, { maxBodyBytes: 1000 })
    let sent = 0
    const body = new ReadableStream({
      pull: (controller) => {
        sent += 400
        controller.enqueue(new Uint8Array(400).fill(0x20))
      },
    })
    const init = { method: "POST", body, duplex: "half" }
    const response = await app.fetch(new Request("http://127.0.0.1/v1/completions", init))
    expect(response.status).toBe(413)
    expect(sent).toBeLessThan(4000)
  })

  test("a body that is not UTF-8 is refused", async () => {
    const body = new Uint8Array([0x22, 0xff, 0x22])
    const response = await serveApp(lm).fetch(new Request("http://127.0.0.1/v1/completions", { method: "POST", body }))
    expect(response.status).toBe(400)
  })
})

describe("a key", () => {
  test("is asked for everywhere but at /health", async () => {
    const guarded = asker(lm, { apiKey: "secret" })
    for (const authorization of ["", "Bearer", "Bearer wrong", "Bearer secret2", "Basic secret"]) {
      const { status, json, headers } = await guarded("/v1/models", undefined, { authorization })
      expect(status).toBe(401)
      expect(json.error).toMatchObject({ type: "authentication_error", code: "invalid_api_key" })
      expect(headers.get("www-authenticate")).toBe("Bearer")
    }
    expect((await guarded("/v1/completions", { prompt: "a" })).status).toBe(401)
    expect((await guarded("/v1/models", undefined, { authorization: "Bearer secret" })).status).toBe(200)
    expect((await guarded("/health")).status).toBe(200)
  })
})

describe("a browser's page", () => {
  const origin = "https://page.example"

  test("of another origin is refused, as it would keep the model busy", async () => {
    const { status, json } = await ask("/v1/completions", { prompt: "a" }, { origin, "content-type": "text/plain" })
    expect(status).toBe(403)
    expect(json.error.code).toBe("origin_not_allowed")
  })

  test("of an allowed origin may ask", async () => {
    const app = serveApp(lm, { cors: [origin] })
    const headers = { origin, "access-control-request-method": "POST" }
    const preflight = await app.fetch(new Request("http://127.0.0.1/v1/completions", { method: "OPTIONS", headers }))
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get("access-control-allow-origin")).toBe(origin)
    const response = await app.fetch(request("/v1/models", undefined, { origin }))
    expect(response.headers.get("access-control-allow-origin")).toBe(origin)
    expect((await app.fetch(request("/v1/models", undefined, { origin: "https://other.example" }))).status).toBe(403)
  })
})

describe("serveApp", () => {
  test("refuses a model without a tokenizer and options that cannot work", async () => {
    const without = await load(fixture("goldens/tiny-gemma3"), { device: testDeviceKind(), context: 64 })
    expect(() => serveApp(without)).toThrow(/has no tokenizer, expected a tokenizer.json/)
    await without.dispose()
    expect(() => serveApp(lm, { maxQueue: -1 })).toThrow("serve: maxQueue is -1, expected a whole number from 0")
    expect(() => serveApp(lm, { timeoutMs: Number.NaN })).toThrow(/timeoutMs is NaN/)
    expect(() => serveApp(lm, { apiKey: "" })).toThrow(/apiKey is ""/)
  })

  test("a model without a chat template says what chat needs, and that completions need none", async () => {
    const plain = await load(fixture("stories260K"), { device: testDeviceKind(), context: 64 })
    const each = asker(plain)
    const { status, json } = await each("/v1/chat/completions", { messages: HELLO })
    expect(status).toBe(400)
    expect(json.error.message).toMatch(/no chat template, expected one that has .*\/v1\/completions/)
    expect((await each("/v1/completions", { prompt: "" })).json.error.message).toMatch(/^prompt: is empty/)
    await plain.dispose()
  })
})
