import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { expectUsageError, gemlet } from "./run.ts"

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))

describe("gemlet", () => {
  test("gemlet --help lists the commands with examples", async () => {
    const { code, stdout, stderr } = await gemlet(["--help"])
    for (const text of ["generate", "chat", "inspect", "score", "Examples:"]) expect(stdout).toContain(text)
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect((await gemlet([])).stdout).toBe(stdout)
  })

  test("gemlet <command> --help shows options and examples, and so does gemlet help <command>", async () => {
    const commands = ["generate", "chat", "inspect", "score"]
    await Promise.all(
      commands.map(async (command) => {
        const [direct, indirect] = await Promise.all([gemlet([command, "--help"]), gemlet(["help", command])])
        expect(direct.stdout).toContain(`Usage: gemlet ${command} [options]`)
        for (const text of ["--model", "--json", "Examples:"]) expect(direct.stdout).toContain(text)
        expect(indirect).toEqual(direct)
        expect(direct.code).toBe(0)
      }),
    )
  })

  test("gemlet --version prints the package's version", async () => {
    expect((await gemlet(["--version"])).stdout).toBe(`${version}\n`)
  })

  test("gemlet suggests the command or option that a typo meant", async () => {
    expectUsageError(await gemlet(["genrate", "x"]), "gemlet", "unknown command 'genrate' (Did you mean generate?)")
    const option = await gemlet(["generate", "--tempature", "1", "x"])
    expectUsageError(option, "gemlet generate", "unknown option '--tempature' (Did you mean --temperature?)")
  })
})
