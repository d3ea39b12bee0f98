import { expect, test } from "vitest"
import { answers, greedy, ready, say, usePage } from "./chromium.ts"
import { serveSite } from "./site.ts"

const open = usePage()

test("after a first visit the page works without its host, and asks nobody else for anything", async () => {
  const site = await serveSite()
  const { page, context, errors } = await open({ serviceWorkers: "allow" }, site)
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
})
