import type { Browser } from "playwright-core"
import { afterAll, beforeAll, expect, test } from "vitest"
import { answers, greedy, launch, ready, say, visit } from "./chromium.ts"
import { serveSite } from "./site.ts"

let browser: Browser
beforeAll(async () => {
  browser = await launch()
})
afterAll(() => browser.close())

test("after a first visit the page works without its host, and asks nobody else for anything", async () => {
  const site = await serveSite()
  const { page, context, errors } = await visit(browser, site, { serviceWorkers: "allow" })
  const outside: string[] = []
  context.on("request", (request) => {
    if (!request.url().startsWith(site.url)) outside.push(request.url())
  })
  await ready(page)
  await page.evaluate(() => navigator.serviceWorker.ready)
  await site[Symbol.asyncDispose]() // the host is gone, not only the network
  await page.reload()
  await ready(page)
  await greedy(page, 12)
  await say(page, "Tell me a story about Lily.")
  expect((await answers(page))[0]).toMatch(/^Once upon a time/)
  expect(outside).toEqual([])
  expect(errors).toEqual([])
  await context.close()
})
