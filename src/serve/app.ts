import { createHash } from "node:crypto"
import { Hono, type MiddlewareHandler } from "hono"
import { cors } from "hono/cors"
import type { LanguageModel } from "../api.ts"
import { answers } from "./answers.ts"
import { bearerCheck } from "./auth.ts"
import { readBody } from "./body.ts"
import { readChat } from "./chat.ts"
import { readCompletions } from "./completions.ts"
import { Engine } from "./engine.ts"
import { ApiError, asApiError } from "./errors.ts"
import { type Exchange, gather, type Served } from "./exchange.ts"
import type { Body } from "./fields.ts"
import { unavailable } from "./life.ts"
import { Models } from "./models.ts"
import { type ServeOptions, withDefaults } from "./options.ts"
import { PromptLimits } from "./prompts.ts"
import { Queue } from "./queue.ts"
import { eventStream } from "./sse.ts"
import { Tally } from "./tally.ts"
import { Visit } from "./visit.ts"

/** OpenAI's API over a model, without a socket: requests in, responses out. */
export interface ServeApp {
  fetch(request: Request): Promise<Response>
  /**
   * Takes no more requests and waits for those underway, but not longer than `graceMs`: then answers end with what they
   * have, and those that have nothing yet are errors.
   */
  close(graceMs?: number): Promise<void>
}

interface Environment {
  Variables: { visit: Visit }
}

const ROUTES = "POST /v1/chat/completions, POST /v1/completions, GET /v1/models, GET /v1/models/ID, GET /health"

/**
 * Serves a model as OpenAI's API does. The model is the caller's to dispose, after `close`; while it is served, the
 * requests choose which of its adapters are on.
 *
 * @throws {TypeError} for a model without a tokenizer, RangeError for an option that cannot work
 */
export function serveApp(lm: LanguageModel, given: ServeOptions = {}): ServeApp {
  const options = withDefaults(given)
  const { id = lm.name, timeoutMs, apiKey, onRequest } = options
  if (!lm.tokenizer) throw new TypeError(`serve: ${lm.name} has no tokenizer, expected a tokenizer.json in its folder`)
  const served: Served = {
    lm,
    models: new Models(lm, id),
    limits: new PromptLimits(lm),
    fingerprint: fingerprintOf(lm, id),
  }
  const queue = new Queue(options.maxQueue, lm.sequences)
  const engine = new Engine(lm, queue, { draft: options.draft, draftTokens: options.draftTokens })
  const visits = new Set<Visit>()
  let closing = false

  const app = new Hono<Environment>()
  app.onError((error) => asApiError(error).response)
  app.notFound(({ req }) => {
    const message = `${req.method} ${req.path}: no such route, expected one of ${ROUTES}`
    return new ApiError(404, message, { code: "unknown_url" }).response
  })
  app.use(async (c, next) => {
    const visit = new Visit(c.req.raw, timeoutMs)
    visits.add(visit)
    c.set("visit", visit)
    void visit.over.then((entry) => {
      visits.delete(visit)
      onRequest?.(entry)
    })
    await next()
    if (!visit.streaming) visit.end(c.res.status)
  })
  if (options.cors.length > 0) app.use(corsFor(options.cors))
  app.use(fromKnownOrigin(options.cors))
  app.use((_, next) => {
    if (closing) throw unavailable("server: is closing, expected one that takes requests", "closing")
    return next()
  })
  app.get("/health", (c) => {
    if (engine.failure) throw unavailable(`model: ${engine.failure.message}`, "gpu_failed")
    const { running, waiting, room } = queue
    return c.json({ status: "ok", model: id, running, waiting, room })
  })
  if (apiKey !== undefined) {
    const check = bearerCheck(apiKey)
    app.use((c, next) => {
      check(c.req.header("authorization"))
      return next()
    })
  }
  app.get("/v1/models", (c) => c.json(served.models.list()))
  app.get("/v1/models/:id{.+}", (c) => c.json(served.models.get(c.req.param("id"))))

  const answering = (path: string, read: (served: Served, body: Body) => Exchange) => {
    app.post(path, async (c) => {
      const visit = c.get("visit")
      const exchange = read(served, await readBody(c.req.raw, options.maxBodyBytes))
      const tally = new Tally(exchange.asks)
      visit.tally = tally
      const events = tally.counted(answers(engine, exchange.asks, visit.life))
      if (!exchange.stream) return c.json(exchange.whole(await gather(events), tally))
      const response = await eventStream(exchange.chunks(events, tally), visit.life, options, () => visit.end(200))
      visit.streaming = true
      return response
    })
  }
  answering("/v1/chat/completions", readChat)
  answering("/v1/completions", readCompletions)

  return {
    fetch: async (request) => app.fetch(request),
    async close(graceMs = 3000) {
      closing = true
      const all = () => Promise.all([...visits].map(({ over }) => over))
      const timer = setTimeout(() => {
        for (const { life } of visits) life.end("closing")
      }, graceMs)
      await all()
      clearTimeout(timer)
    },
  }
}

function corsFor(origins: readonly string[]): MiddlewareHandler {
  return cors({ origin: origins.includes("*") ? "*" : [...origins], exposeHeaders: ["Retry-After"] })
}

/**
 * Refuses what a browser sends for a page of another origin. A page cannot read such an answer, but without this it could
 * keep the model busy: a server on localhost is open to every page that its user visits.
 */
function fromKnownOrigin(origins: readonly string[]): MiddlewareHandler {
  return async (c, next) => {
    const origin = c.req.header("origin")
    if (origin === undefined || origins.includes("*") || origins.includes(origin)) return next()
    throw new ApiError(403, `Origin: is ${origin}, expected one that the server allows (--cors)`, {
      code: "origin_not_allowed",
    })
  }
}

function fingerprintOf(lm: LanguageModel, id: string): string {
  const text = JSON.stringify([lm.name, id, lm.parameters, lm.device.description, lm.context])
  return `fp_${createHash("sha256").update(text).digest("hex").slice(0, 10)}`
}
