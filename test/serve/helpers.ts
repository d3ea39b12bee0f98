import { readFileSync } from "node:fs"
import { expect } from "vitest"
import { type LanguageModel, type LoadOptions, load, memoryFolder } from "../../src/index.ts"
import { type ServeOptions, serveApp } from "../../src/serve/index.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { fixture } from "../helpers/golden.ts"

const TEMPLATE =
  "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}{{ 'assistant:' }}"

/** stories260K with a chat template: small, since the first answer of each process waits for its pipelines. */
export function loadTiny(options: LoadOptions = {}): Promise<LanguageModel> {
  const read = (name: string) => readFileSync(fixture(`stories260K/${name}`))
  const config = { ...JSON.parse(read("tokenizer_config.json").toString()), chat_template: TEMPLATE }
  const files = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]
  const folder = memoryFolder(
    "tiny",
    new Map([
      ...files.map((name) => [name, new Uint8Array(read(name))] as const),
      ["tokenizer_config.json", new TextEncoder().encode(JSON.stringify(config))] as const,
    ]),
  )
  return load(folder, { device: testDeviceKind(), ...options })
}

/** What an app answers to a JSON body, or to GET without one. */
export type Ask = (
  path: string,
  body?: unknown,
  headers?: Record<string, string>,
) => Promise<{ status: number; headers: Headers; json: ReturnType<typeof JSON.parse> }>

/** Asks an app without a socket. */
export function asker(lm: LanguageModel, options: ServeOptions = {}): Ask {
  const app = serveApp(lm, { id: "tiny", ...options })
  return async (path, body, headers = {}) => {
    const response = await app.fetch(request(path, body, headers))
    return { status: response.status, headers: response.headers, json: await response.json() }
  }
}

export function request(path: string, body?: unknown, headers: Record<string, string> = {}, signal?: AbortSignal) {
  const text = typeof body === "string" || body === undefined ? body : JSON.stringify(body)
  return new Request(`http://127.0.0.1${path}`, {
    method: body === undefined ? "GET" : "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: text,
    signal,
  })
}

/** The text that the library itself gives. */
export async function generated(
  lm: LanguageModel,
  ...[prompt, options]: Parameters<LanguageModel["generate"]>
): Promise<{ text: string; tokens: readonly number[] }> {
  const generation = lm.generate(prompt, options)
  for await (const _ of generation);
  return generation
}

/** Waits until something holds, for a few seconds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 20_000
  while (!(await condition())) {
    if (performance.now() > end) expect.fail("it did not get there")
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
