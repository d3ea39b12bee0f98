import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { expect } from "vitest"
import { testDeviceKind } from "../helpers/device.ts"

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url))

export interface Result {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** What is piped in; without it stdin is empty. */
  readonly input?: string | Uint8Array
  readonly env?: Record<string, string>
}

/** The options that choose the suite's adapter. */
export const DEVICE = ["--device", testDeviceKind()]

/** Runs the built command to its end. */
export async function gemlet(args: readonly string[], { input = "", env }: RunOptions = {}): Promise<Result> {
  const running = start(args, env)
  running.process.stdin!.on("error", () => {}) // a command that fails early reads nothing
  running.process.stdin!.end(input)
  return running.result
}

/** Runs the built command with stdin open. */
export function start(args: readonly string[], env: Record<string, string> = {}): Running {
  return new Running(spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env } }))
}

export class Running {
  readonly process: ChildProcess
  readonly result: Promise<Result>
  stdout = ""
  stderr = ""

  constructor(child: ChildProcess) {
    this.process = child
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text
    })
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text
    })
    this.result = new Promise((resolve) => {
      child.on("close", (code, signal) => resolve({ code, signal, stdout: this.stdout, stderr: this.stderr }))
    })
  }

  say(line: string): void {
    this.process.stdin!.write(`${line}\n`)
  }

  interrupt(): void {
    this.process.kill("SIGINT")
  }

  /** Waits until the output satisfies `condition`. */
  async until(condition: (running: Running) => boolean): Promise<void> {
    const end = performance.now() + 30_000
    while (!condition(this)) {
      if (performance.now() > end || this.process.exitCode !== null) {
        expect.fail(`the command did not get there:\n${this.stdout}\n${this.stderr}`)
      }
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
}

/** What was asked of a run that the user got wrong: exit 2, nothing on stdout, the message and the usage line. */
export function expectUsageError({ code, stdout, stderr }: Result, command: string, ...texts: string[]): void {
  expect(stderr).toContain(`${command}: `)
  for (const text of texts) expect(stderr).toContain(text)
  expect(stderr).toContain(`usage: ${command} `)
  expect(stderr).not.toMatch(/^ {4}at /m)
  expect(stdout).toBe("")
  expect(code).toBe(2)
}

/** The object on stdout of a run that went well. */
export function json({ code, stdout, stderr }: Result): ReturnType<typeof JSON.parse> {
  expect(code, stderr).toBe(0)
  return JSON.parse(stdout)
}
