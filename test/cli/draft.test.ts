import { expect, test } from "vitest"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json } from "./run.ts"

const STORYTELLER = "weights/storyteller"
const DRAFT = ["--draft", STORYTELLER, "--draft-dtype", "q4"]

const generate = (...args: string[]) => gemlet(["generate", ...DEVICE, "Once upon a time", "--seed", "7", ...args])

test("--draft proposes what becomes the same text, and --stats says how much of it did", async () => {
  const plain = await generate("-n", "24")
  const helped = await generate("-n", "24", "--stats", ...DRAFT)
  expect(helped.stdout).toBe(plain.stdout)
  const [, accepted, drafted] = /, (\d+) of (\d+) drafted tokens accepted, /.exec(helped.stderr)!.map(Number)
  expect(accepted).toBeGreaterThan(drafted! / 2)
  const answer = json(await generate("-n", "8", "--json", "--draft-tokens", "2", ...DRAFT))
  expect(answer.draftedTokens).toBeGreaterThan(2)
  expectDocumented("generate", answer)
})

test("chat answers with a draft, too", async () => {
  const chat = (...args: string[]) => {
    return gemlet(["chat", ...DEVICE, "--seed", "3", "-n", "12", ...args], { input: "Tell me a story.\nAnd then?\n" })
  }
  const [plain, helped] = [await chat(), json(await chat("--json", ...DRAFT))]
  const said = helped.messages.filter(({ role }: { role: string }) => role === "assistant")
  expect(said.map(({ content }: { content: string }) => `${content}\n`).join("")).toBe(plain.stdout)
  expect(helped.acceptedTokens).toBeGreaterThan(0)
})

test("--draft and its options are refused where they make no sense", async () => {
  expectUsageError(await generate("--draft-tokens", "3"), "gemlet generate", "--draft-tokens: --draft is missing")
  expectUsageError(await generate("--draft-dtype", "q4"), "gemlet generate", "--draft-dtype: --draft is missing")
  expectUsageError(
    await generate("--draft-tokens", "17", ...DRAFT),
    "gemlet generate",
    "expected a whole number from 1 to 16",
  )
  expectUsageError(
    await generate("--schema", "package.json", ...DRAFT),
    "gemlet generate",
    "cannot be used with option",
  )
  const other = await generate("--draft", "test/fixtures/goldens/tiny-gemma3", "-n", "2")
  expectUsageError(other, "gemlet generate", "expected the model's 4096")
})
