import { readFile } from "node:fs/promises"
import { join } from "node:path"
import type { BrowserContext } from "playwright-core"
import { fixture } from "../helpers/golden.ts"
import { FakeHub } from "../hub/fake_hub.ts"

export const FOLDER = fixture("stories260K")
export const FILES = [
  "config.json",
  "generation_config.json",
  "model.safetensors",
  "tokenizer.json",
  "tokenizer_config.json",
]

/** A Hub on this machine that has a golden checkpoint. */
export async function startHub(): Promise<FakeHub> {
  const hub = await new FakeHub().start()
  for (const name of FILES) hub.files.set(name, await readFile(join(FOLDER, name)))
  return hub
}

/** Puts it in the place of the one that the engine asks. The policy of its script has to know of that. */
export async function useHub(context: BrowserContext, { endpoint }: FakeHub): Promise<void> {
  const before = `const own = fetch
    globalThis.fetch = (url, init) => own(String(url).replace("https://huggingface.co", ${JSON.stringify(endpoint)}), init);`
  await context.route(/assets\/script-/, async (route) => {
    const response = await route.fetch()
    const headers = response.headers()
    const policy = headers["content-security-policy"]!.replace("connect-src", "connect-src http://127.0.0.1:*")
    await route.fulfill({
      response,
      headers: { ...headers, "content-security-policy": policy },
      body: `${before}${await response.text()}`,
    })
  })
}
