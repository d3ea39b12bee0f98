import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import type { Entry } from "./lineup.ts"
import type { Generation, Loading, Reply, Request } from "./peer.ts"

/** What of a process's output is kept, to say why it ended. */
const TAIL = 2000

/** A peer in a process of its own, so that neither its crash nor its GPU device touches another. */
export class PeerProcess {
  readonly entry: Entry
  readonly #child: ChildProcess
  /** How long an answer may take before it counts as none. */
  patienceMs: number
  #output = ""

  private constructor(entry: Entry, child: ChildProcess, patienceMs: number) {
    this.entry = entry
    this.#child = child
    this.patienceMs = patienceMs
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding("utf8")
      stream.on("data", (text: string) => {
        this.#output = (this.#output + text).slice(-TAIL)
      })
    }
  }

  static async start(entry: Entry, device: string, patienceMs: number): Promise<PeerProcess> {
    const path = fileURLToPath(new URL("child.ts", import.meta.url))
    const child = fork(path, [entry.module, entry.dtype, entry.computesOn === "WebGPU" ? device : "cpu"], {
      execArgv: ["--import", "tsx"],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    })
    const peer = new PeerProcess(entry, child, patienceMs)
    try {
      await peer.#reply()
    } catch (error) {
      await peer.stop()
      throw error
    }
    return peer
  }

  prepare(): Promise<unknown> {
    return this.#ask({ do: "prepare" })
  }

  load(): Promise<Loading> {
    return this.#ask({ do: "load" }) as Promise<Loading>
  }

  generate(ids: readonly number[], tokens: number): Promise<Generation> {
    return this.#ask({ do: "generate", ids, tokens }) as Promise<Generation>
  }

  async stop(): Promise<void> {
    if (this.#ended) return
    this.#child.kill("SIGKILL")
    await once(this.#child, "exit")
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  #ask(request: Request): Promise<unknown> {
    const reply = this.#reply()
    this.#child.send(request, () => {}) // a process that has ended is reported by its exit
    return reply
  }

  #reply(): Promise<unknown> {
    if (this.#ended) return Promise.reject(new Error(this.#epitaph()))
    return new Promise((resolve, reject) => {
      const settled = () => {
        clearTimeout(timer)
        this.#child.off("message", onMessage)
        this.#child.off("exit", onExit)
      }
      const onMessage = (reply: Reply) => {
        settled()
        if ("error" in reply) reject(new Error(inALine(reply.error)))
        else resolve(reply.result)
      }
      const onExit = () => {
        settled()
        reject(new Error(this.#epitaph()))
      }
      const patienceMs = this.patienceMs
      const timer = setTimeout(() => {
        settled()
        reject(new Error(`no answer in ${(patienceMs / 1000).toFixed(0)} s`))
      }, patienceMs)
      this.#child.on("message", onMessage)
      this.#child.on("exit", onExit)
    })
  }

  #epitaph(): string {
    const { signalCode, exitCode } = this.#child
    return `the process ended with ${signalCode ?? exitCode}: ${inALine(this.#output.trim().split("\n").slice(-3).join("\n"))}`
  }
}

/** An error in a line, as rows and tables want it. */
function inALine(text: string): string {
  const line = text.replace(/\s+/g, " ").trim()
  return line.length > 300 ? `${line.slice(0, 299)}…` : line
}
