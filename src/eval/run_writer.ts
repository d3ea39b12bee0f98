import type { EvalFolder } from "./folder.ts"
import { checkResult, type PromptLine, parseRun, type ResultLine, type RunFile, readLines } from "./results.ts"
import { fileNames, keyOf, type Shard, together } from "./run_folder.ts"

interface WriterOptions {
  readonly folder?: EvalFolder
  readonly shard?: Shard | undefined
  readonly prompts?: boolean
  readonly onNote?: (note: string) => void
}

/** Keeps the results of a run as they come, and knows those that were there. */
export class RunWriter {
  readonly #options: WriterOptions
  readonly #files: ReturnType<typeof fileNames>
  readonly #keys = new Set<string>()
  #release: (() => Promise<void>) | undefined

  private constructor(options: WriterOptions) {
    this.#options = options
    this.#files = fileNames(options.shard)
  }

  /** @throws {RangeError} when the folder has results of another run, or is in use */
  static async open(run: RunFile, options: WriterOptions): Promise<RunWriter> {
    const writer = new RunWriter(options)
    const { folder } = options
    if (!folder) return writer
    writer.#release = await folder.hold(writer.#files.results)
    try {
      await writer.#begin(folder, run)
      return writer
    } catch (error) {
      await writer.close()
      throw error
    }
  }

  /** Whether there is a result already. */
  has(task: string, id: string): boolean {
    return this.#keys.has(keyOf({ task, id }))
  }

  /** The prompt goes first: a result that is there is whole. */
  async write(line: ResultLine, prompt: PromptLine): Promise<void> {
    const { folder, prompts = true } = this.#options
    this.#keys.add(keyOf(line))
    if (!folder) return
    if (prompts) await folder.append(this.#files.prompts, `${JSON.stringify(prompt)}\n`)
    await folder.append(this.#files.results, `${JSON.stringify(line)}\n`)
  }

  async close(): Promise<void> {
    await this.#release?.()
    this.#release = undefined
  }

  async #begin(folder: EvalFolder, run: RunFile): Promise<void> {
    const { run: runFile, results, prompts } = this.#files
    const before = await folder.read(runFile)
    const file = before === undefined ? run : together(parseRun(before, `${folder.name}/${runFile}`), run, folder.name)
    const text = `${JSON.stringify(file, undefined, 2)}\n`
    if (text !== before) await folder.write(runFile, text)
    const found = await folder.read(results)
    if (found !== undefined) await this.#takeUp(folder, run, found)
    const shown = await folder.read(prompts)
    if (shown && !shown.endsWith("\n")) await folder.append(prompts, "\n") // the next is a line of its own
  }

  /** Takes results that are there as done. Lines that cannot be read are set aside, and their instances done again. */
  async #takeUp(folder: EvalFolder, run: RunFile, text: string): Promise<void> {
    const { results, damaged: aside } = this.#files
    const { lines, damaged } = readLines(text, results, checkResult)
    const foreign = lines.find((line) => line.run !== run.id)
    if (foreign) {
      throw new RangeError(`${folder.name}: result ${foreign.id} is of run ${foreign.run}, expected ${run.id}`)
    }
    for (const line of lines) this.#keys.add(keyOf(line))
    if (damaged.length === 0 && (text === "" || text.endsWith("\n"))) return
    for (const { number, why } of damaged) {
      const isLast = number === text.split("\n").length && !text.endsWith("\n")
      const what = isLast ? `${results}:${number}: line is cut, as by a process that was killed` : why
      this.#options.onNote?.(`${folder.name}: ${what}; it is kept in ${aside}, and its instance is done again`)
    }
    if (damaged.length > 0) await folder.append(aside, damaged.map((each) => `${each.text}\n`).join(""))
    await folder.write(results, lines.map((line) => `${JSON.stringify(line)}\n`).join(""))
  }
}
