import { spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { fixture } from "../helpers/golden.ts"
import { fits } from "../reference/json_schema.ts"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json } from "./run.ts"

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url))
const STORY = "Once upon a time"

function generate(...args: string[]) {
  return gemlet(["generate", ...DEVICE, ...args])
}

const SCHEMA = {
  type: "object",
  properties: {
    name: { type: "string", pattern: "^[A-Z][a-z]{2,8}$" },
    age: { type: "integer", minimum: 1, maximum: 12 },
  },
  required: ["name", "age"],
}
let schemas = ""
let schemaFile = ""
beforeAll(() => {
  schemas = mkdtempSync(join(tmpdir(), "gemlet-schema-"))
  schemaFile = join(schemas, "person.json")
  writeFileSync(schemaFile, JSON.stringify(SCHEMA))
  writeFileSync(join(schemas, "bad.json"), '{ "type": "array", "uniqueItems": true }')
  writeFileSync(join(schemas, "none.json"), "{")
})
afterAll(() => rmSync(schemas, { recursive: true, force: true }))

function goldenJson(folder: string) {
  return JSON.parse(readFileSync(fixture(`${folder}/golden.json`), "utf8"))
}

describe("generate", () => {
  test("generate gives the same text for the same seed, ending with one newline", async () => {
    const again = () => generate(STORY, "--seed", "7", "-n", "6")
    const [a, b] = await Promise.all([again(), again()])
    expect(a.code, a.stderr).toBe(0)
    expect(a.stdout).toMatch(/^, there was .*[^\n]\n$/)
    expect(b.stdout).toBe(a.stdout)
  })

  test("generate --greedy --ids gives the storyteller's golden tokens", async () => {
    const { prompts, greedy } = goldenJson("storyteller")
    const ids = prompts[greedy[0].prompt].ids.join(",")
    const { tokens, finishReason } = json(await generate("--ids", ids, "--greedy", "-n", "24", "--json"))
    expect(tokens).toEqual(greedy[0].new_tokens.slice(0, 24))
    expect(finishReason).toBe("length")
  })

  test("generate --json prints one documented object", async () => {
    const answer = json(await generate(STORY, "--seed", "3", "-n", "4", "--json"))
    expectDocumented("generate", answer)
    expect(answer).toMatchObject({ model: "storyteller", promptTokens: 5, seed: 3, finishReason: "length" })
    expect(answer.text).not.toBe("")
    expect(answer.tokens.length).toBe(4)
    for (const time of Object.values(answer.timings)) expect(time).toBeGreaterThanOrEqual(0)
    const { weights, cache, scratch, total, peak } = answer.memory
    expect(total).toBe(weights + cache + scratch)
    expect(peak).toBeGreaterThanOrEqual(total)
  })

  test("generate reads its prompt from stdin, without the last newline", async () => {
    const args = ["generate", ...DEVICE, "--greedy", "-n", "6", "--echo"]
    const [piped, asked] = await Promise.all([
      gemlet(args, { input: `${STORY}\n` }),
      gemlet([...args, "-"], { input: STORY }),
    ])
    expect(piped.stdout).toMatch(/^Once upon a time, there/)
    expect(asked.stdout).toBe(piped.stdout)
  })

  test("generate ends before a stop text", async () => {
    const { text, finishReason } = json(await generate(STORY, "--greedy", "--stop", " girl", "--json"))
    expect({ text, finishReason }).toEqual({ text: ", there was a little", finishReason: "stop" })
  })

  test("generate prints ids where there is no tokenizer", async () => {
    const folder = fixture("goldens/tiny-gemma3")
    const { prompts, greedy } = goldenJson("goldens/tiny-gemma3")
    const ids = prompts[greedy[0].prompt].ids.join(",")
    const { stdout } = await generate("--model", folder, "--ids", ids, "--greedy", "--ignore-eos", "-n", "8")
    expect(stdout).toBe(`${greedy[0].new_tokens.slice(0, 8).join(",")}\n`)
    const text = await generate("--model", folder, STORY)
    expectUsageError(text, "gemlet generate", "tokenizer.json is missing", "token ids work without")
  })

  test("generate --schema gives JSON that fits, the same for the same seed", async () => {
    const again = () => generate(STORY, "--schema", schemaFile, "--seed", "4")
    const [a, b] = await Promise.all([again(), again()])
    expect(a.code, a.stderr).toBe(0)
    expect(fits(SCHEMA, JSON.parse(a.stdout)), a.stdout).toBe(true)
    expect(b.stdout).toBe(a.stdout)
  })

  test("generate --logprobs prints a table behind the answer, and documented fields with --json", async () => {
    const args = [STORY, "--greedy", "-n", "3", "--logprobs", "2"]
    const [shown, told] = await Promise.all([generate(...args), generate(...args, "--json")])
    const [text, empty, head, ...rows] = shown.stdout.trimEnd().split("\n")
    expect([text, empty, head]).toEqual([", there was", "", expect.stringMatching(/^token +logprob +likeliest$/)])
    expect(rows[1]).toMatch(/^" there" +-\d\.\d{4} {2}" there" -\d\.\d{4} {2}" [^"]+" -\d\.\d{4}$/)
    const answer = json(told)
    expectDocumented("generate", answer)
    expect(answer.logprobs.map(({ token }: { token: number }) => token)).toEqual(answer.tokens)
    expect(answer.logprobs[1].top[0]).toMatchObject({ text: " there", logprob: answer.logprobs[1].logprob })
  })

  test("generate says on stderr when the CPU computes unasked", async () => {
    const auto = await gemlet(["generate", "--device", "auto", STORY, "-n", "1", "--json"])
    const { software, device } = json(auto)
    const line = `gemlet: no GPU found, computing on the CPU with ${device}\n`
    expect(auto.stderr.includes(line)).toBe(software)
    const stderr = software && (await gemlet(["generate", "--device", "software", STORY, "-n", "1"])).stderr
    expect(stderr || "").not.toContain("no GPU found")
  })

  test("generate --stats adds a line on stderr and none on stdout", async () => {
    const { stdout, stderr } = await generate(STORY, "-n", "3", "--seed", "5", "--stats")
    expect(stderr).toMatch(/^3 tokens at [\d.]+ per second, prompt of 5 in \d+ ms, ended by length, seed 5$/m)
    expect(stdout.split("\n").length).toBe(2)
  })

  test("generate ends quietly when its reader has enough", () => {
    const command = `"${process.execPath}" "${MAIN}" generate ${DEVICE.join(" ")} --ignore-eos --overflow shift "${STORY}"`
    const { stdout, stderr } = spawnSync("sh", ["-c", `${command} | head -c 20`], { encoding: "utf8", timeout: 60_000 })
    expect(stdout.length).toBe(20)
    expect(stderr).not.toMatch(/EPIPE|Error/)
  })
})

describe("generate, input that is wrong", () => {
  let folder = ""
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "gemlet-cli-"))
    cpSync(fixture("stories260K"), folder, { recursive: true })
    truncateSync(join(folder, "model.safetensors"), 100_000)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const WRONG: [what: string, args: string[], ...texts: string[]][] = [
    [
      "a temperature that is no number",
      ["--temperature", "hot", "x"],
      `--temperature: value is "hot", expected a number`,
    ],
    ["a negative temperature", ["--temperature", "-1", "x"], `value is "-1", expected a number from 0 to 1000`],
    ["a top-p above 1", ["--top-p", "2", "x"], `--top-p: value is "2", expected a number above 0 and at most 1`],
    ["no tokens at all", ["-n", "0", "x"], `--max-tokens: value is "0", expected a whole number from 1`],
    ["an unknown device", ["--device", "gup", "x"], `value is "gup", expected one of auto, gpu, software`],
    ["--greedy with a temperature", ["--greedy", "-t", "1", "x"], "cannot be used with"],
    ["a prompt without quotes", ["Once", "upon"], "too many arguments", "in quotes"],
    ["an empty prompt", [""], "prompt: is empty"],
    ["an empty stdin", [], "prompt: is empty"],
    ["a text and ids", ["x", "--ids", "1"], "given by a text and --ids, expected one"],
    ["ids that are none", ["--ids", "1,x"], `--ids: id is "x", expected whole numbers`],
    ["a folder that is missing", ["-m", "./nowhere", "x"], "./nowhere: no such folder"],
    ["a file for a folder", ["-m", MAIN, "x"], "is a file, expected a checkpoint folder"],
    ["a folder without a checkpoint", ["-m", fixture("tokenizer"), "x"], "config.json is missing"],
  ]
  test("generate refuses what is wrong before it loads anything", async () => {
    for (const [what, args, ...texts] of WRONG) {
      const began = performance.now()
      expectUsageError(await generate(...args), "gemlet generate", ...texts)
      expect(performance.now() - began, what).toBeLessThan(5000)
    }
  })

  test("generate refuses a schema that it cannot hold to, with the place", async () => {
    const bad = await generate(STORY, "--schema", join(schemas, "bad.json"))
    expectUsageError(bad, "gemlet generate", 'schema #: keyword is "uniqueItems", expected one of type')
    expectUsageError(await generate(STORY, "--schema", join(schemas, "none.json")), "gemlet generate", "expected JSON")
    expectUsageError(await generate(STORY, "--schema", "./nowhere.json"), "gemlet generate", "no such file")
    expectUsageError(
      await generate(STORY, "--logprobs", "21"),
      "gemlet generate",
      "expected a whole number from 0 to 20",
    )
  })

  test("generate refuses a truncated safetensors file by name", async () => {
    expectUsageError(await generate("-m", folder, "x"), "gemlet generate", "model.safetensors: ", "expected")
  })

  test("generate refuses an id outside the vocabulary", async () => {
    expectUsageError(await generate("--ids", "2,4096"), "gemlet generate", "id 4096 is outside the vocabulary")
  })

  test("generate refuses a prompt longer than the context, and a context longer than the model's", async () => {
    const long = await generate("--context", "4", STORY)
    expectUsageError(long, "gemlet generate", "5 prompt tokens", "expected at most the context of 4")
    expectUsageError(
      await generate("--context", "4096", STORY),
      "gemlet generate",
      "expected a whole number from 2 to 2048",
    )
  })

  test("generate refuses text in another encoding than UTF-8", async () => {
    const latin = await gemlet(["generate", ...DEVICE], { input: Uint8Array.of(0x66, 0xfc, 0x72) })
    expectUsageError(latin, "gemlet generate", "stdin: text is in another encoding, expected UTF-8")
  })

  test("generate shows a stack trace only if GEMLET_DEBUG asks for it", async () => {
    const { stderr, code } = await gemlet(["generate", "-m", "./nowhere", "x"], { env: { GEMLET_DEBUG: "1" } })
    expect(stderr).toMatch(/^ {4}at /m)
    expect(code).toBe(2)
  })
})
