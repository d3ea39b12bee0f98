import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { evalData, TASKS } from "../../src/eval/index.ts"
import { createTokenizer, evalSources, packaged } from "../../src/index.ts"
import { instanceHashes } from "./instances.ts"

const json = (path: string) => JSON.parse(readFileSync(path, "utf8"))
const of = (file: string) => json(`${packaged("storyteller")}/${file}`)

describe("instances", () => {
  // test/deno/eval.ts and test/browser/check.ts hold other runtimes to the same fixture. It changes when a task does:
  // update it with vitest's --update then.
  test("are those that other runtimes make", async () => {
    const tokenizer = createTokenizer({
      tokenizerJson: of("tokenizer.json"),
      tokenizerConfig: of("tokenizer_config.json"),
    })
    const hashes = await instanceHashes(TASKS, tokenizer, evalData(evalSources()))
    expect(Object.keys(hashes)).toEqual(TASKS.map(({ name }) => name).filter((name) => !name.endsWith("_file")))
    await expect(`${JSON.stringify(hashes, undefined, 2)}\n`).toMatchFileSnapshot("../fixtures/eval/instances.json")
  })
})
