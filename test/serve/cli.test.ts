import { createServer } from "node:net"
import { afterEach, describe, expect, test } from "vitest"
import { DEVICE, expectUsageError, gemlet, type Running, start } from "../cli/run.ts"
import { fixture } from "../helpers/golden.ts"

describe("gemlet serve", () => {
  let running: Running | undefined
  afterEach(() => {
    running?.process.kill("SIGKILL")
  })

  /** A server on a free port that listens. */
  async function listen(args: readonly string[] = [], env: Record<string, string> = {}) {
    const each = start(["serve", fixture("stories260K"), "--port", "0", ...DEVICE, ...args], env)
    running = each
    await each.until(({ stdout }) => stdout.includes("\n"))
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(each.stdout)![0]
    return { running: each, url }
  }

  const ask = (url: string, body: object, headers: Record<string, string> = {}) =>
    fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify(body), headers })

  test("answers, tells of each request, and Ctrl-C ends it with 130", async () => {
    const { running, url } = await listen(["--alias", "teller"])
    expect(running.stdout).toMatch(
      /^teller at .*\/v1\n {2}curl .*\/v1\/completions -H "Content-Type: application\/json" -d '\{/,
    )
    const response = await ask(url, { prompt: "One day", max_tokens: 3 })
    expect((await response.json()).model).toBe("teller")
    await running.until(({ stderr }) => stderr.includes("POST"))
    expect(running.stderr).toMatch(/POST \/v1\/completions 200 \d+ ms, \d+ \+ 3 tokens\n/)
    expect(running.stderr).toMatch(/, 4 answers at a time, context of 512 tokens\. Ctrl-C stops the server\.\n/)
    running.interrupt()
    expect(await running.result).toMatchObject({ code: 130, signal: null })
  })

  test("cuts an answer underway at SIGTERM and ends with 0", async () => {
    const { running, url } = await listen(["--json", "--alias", "tiny", "--parallel", "2"])
    const response = await ask(url, {
      prompt: "One day",
      max_tokens: 100,
      n: 8,
      stream: true,
      temperature: 1.5,
      top_k: 0,
    })
    const texts: string[] = []
    for await (const chunk of response.body!) {
      if (texts.length === 0) running.process.kill("SIGTERM")
      texts.push(Buffer.from(chunk).toString())
    }
    expect(texts.join("")).toMatch(/"finish_reason":"(length|stop)".*data: \[DONE\]\n\n$/s)
    expect(await running.result).toMatchObject({ code: 0, signal: null })
    const [first, request] = running.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
    expect(first).toMatchObject({ url, id: "tiny", adapters: [], host: "127.0.0.1", parallel: 2 })
    expect(request).toMatchObject({
      method: "POST",
      path: "/v1/completions",
      status: 200,
      promptTokens: expect.any(Number),
    })
  })

  test("takes its key from the environment", async () => {
    const { running, url } = await listen(["--quiet"], { GEMLET_API_KEY: "secret" })
    expect(running.stdout).toContain("$GEMLET_API_KEY")
    expect(running.stdout).not.toContain("secret")
    expect((await fetch(`${url}/v1/models`)).status).toBe(401)
    expect((await fetch(`${url}/v1/models`, { headers: { authorization: "Bearer secret" } })).status).toBe(200)
    running.interrupt()
    expect((await running.result).stderr).not.toContain("GET")
  })

  test("names a port that is taken, a bad adapter and a model given twice", async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve))
    const { port } = other.address() as { port: number }
    const cases: [args: string[], text: string][] = [
      [["--port", String(port), "--model", "no/such/model"], `port ${port} is taken on 127.0.0.1, expected a free one`],
      [["--adapter", "name="], "expected NAME=FOLDER"],
      [["a", "--model", "b"], "given by an argument and --model"],
      [["--port", "70000"], "expected a whole number from 0 to 65535"],
      [["--parallel", "65"], '--parallel: value is "65", expected a whole number from 1 to 64'],
    ]
    await Promise.all(
      cases.map(async ([args, text]) => expectUsageError(await gemlet(["serve", ...args]), "gemlet serve", text)),
    )
    other.close()
  })
})
