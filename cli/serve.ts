import { basename } from "node:path"
import { type Command, Option } from "commander"
import type { LanguageModel } from "../src/index.ts"
import { createServer, expectFree, type RequestEntry, type Server, type ServerOptions } from "../src/serve/index.ts"
import { addDraftOptions, checkDraft, type DraftFlags, draftOptions, loadDraft } from "./draft.ts"
import { interruptible } from "./interrupt.ts"
import { type LoadedModel, loadModel } from "./model.ts"
import {
  addCheckpointOptions,
  addContextOptions,
  addDeviceOption,
  addJsonOption,
  addPrecisionOptions,
  addPrefixCacheOption,
  collect,
  type ModelFlags,
  show,
  whole,
} from "./options.ts"
import { note, printJsonLine, shellWord } from "./output.ts"

interface Flags extends ModelFlags, DraftFlags {
  readonly host: string
  readonly port: number
  readonly apiKey?: string
  readonly alias?: string
  readonly parallel: number
  readonly maxQueue: number
  readonly maxBody: number
  readonly timeout: number
  readonly cors?: string[]
  readonly quiet?: boolean
}

/** An adapter and the name that requests ask for it by. */
interface NamedAdapter {
  readonly name: string
  readonly folder: string
}

const EXAMPLES = `
Examples:
  gemlet serve
  gemlet serve google/gemma-3-270m-it --port 9000 --alias gemma
  gemlet serve --adapter pirate=path/to/adapter
  gemlet serve path/to/model --parallel 1 --draft path/to/smaller
  GEMLET_API_KEY=secret gemlet serve --host 0.0.0.0`

export function define(command: Command): void {
  command
    .description("Answers requests as OpenAI's API does, until Ctrl-C. docs/serve.md has the details.")
    .argument("[model]", "the same as --model")
  addPrefixCacheOption(addDeviceOption(addPrecisionOptions(addContextOptions(addCheckpointOptions(command)))))
    .option(
      "--adapter <name=folder>",
      "a PEFT adapter that requests may ask for by this name (repeatable); without a name the folder's",
      collect("--adapter"),
    )
    .option("--alias <id>", "the name that requests ask for the model by (default: as the model was named here)")
  addDraftOptions(command)
    .optionsGroup("Server:")
    .option("--host <address>", "the address to listen on; 127.0.0.1 is reached by this machine only", "127.0.0.1")
    .option("-p, --port <n>", "the port; 0 takes a free one", whole("--port", 0, 65535), 8080)
    .addOption(new Option("--api-key <key>", "a key that requests must bring").env("GEMLET_API_KEY"))
    .option(
      "--parallel <n>",
      "answers that are given at once; each has a cache of the context",
      whole("--parallel", 1, 64),
      4,
    )
    .option("--max-queue <n>", "answers that may wait; one more gets status 429", whole("--max-queue", 0), 256)
    .option("--max-body <bytes>", "the largest request", whole("--max-body", 1), 2 ** 20)
    .option("--timeout <seconds>", "the longest that a request may take", whole("--timeout", 1, 86_400), 600)
    .option(
      "--cors <origin>",
      "pages of this origin may ask, * for all (repeatable; by default none)",
      collect("--cors"),
    )
    .option("-q, --quiet", "no line for each request")
  addJsonOption(command, "print one object a line: the server, then each request").addHelpText("after", EXAMPLES)
  command.action(serve)
}

async function serve(model: string | undefined, flags: Flags): Promise<void> {
  if (model !== undefined && flags.model !== undefined) {
    throw new RangeError("model: given by an argument and --model, expected one of them")
  }
  checkDraft(flags)
  const adapters = (flags.adapter ?? []).map(readAdapterFlag)
  await expectFree({ host: flags.host, port: flags.port })
  await interruptible(async (signal) => {
    const location = { ...flags, model: model ?? flags.model, adapter: [] }
    const loaded = await loadModel(location, signal, { sequences: flags.parallel })
    await using lm = loaded.lm
    await loadAdapters(lm, adapters, signal)
    await using draft = await loadDraft(lm, flags, signal)
    const options = { ...serverOptions(flags, flags.alias ?? loaded.name), ...draftOptions(flags, draft) }
    const server = await createServer(lm, options)
    try {
      announce(loaded, server, options, adapters, flags)
      await stopped(signal)
    } finally {
      await server.close()
    }
  })
}

/** Reads `name=folder`, or a folder whose name is the adapter's. */
function readAdapterFlag(text: string): NamedAdapter {
  const [, name = basename(text), folder = text] = /^([^=/\\]*)=(.*)$/s.exec(text) ?? []
  if (name !== "" && folder !== "") return { name, folder }
  throw new RangeError(`--adapter: value is ${show(text)}, expected NAME=FOLDER`)
}

/** Each beside the model, none of them on: requests choose. */
async function loadAdapters(lm: LanguageModel, adapters: readonly NamedAdapter[], signal: AbortSignal): Promise<void> {
  for (const { name, folder } of adapters) {
    await lm.loadAdapter(folder, { name, signal })
    await lm.setAdapters([])
  }
}

function serverOptions(flags: Flags, id: string): ServerOptions {
  const { host, port, apiKey, maxQueue, maxBody: maxBodyBytes, timeout, cors, quiet, json } = flags
  const log = json ? printJsonLine : (entry: RequestEntry) => note(logLine(entry))
  return {
    id,
    host,
    port,
    apiKey,
    maxQueue,
    maxBodyBytes,
    timeoutMs: timeout * 1000,
    cors,
    onRequest: quiet ? undefined : log,
  }
}

/** `POST /v1/chat/completions 200 1234 ms, 23 + 45 tokens`. */
function logLine({ method, path, status, ms, promptTokens, tokens, cut }: RequestEntry): string {
  const counts = promptTokens > 0 ? `, ${promptTokens} + ${tokens} tokens` : ""
  return `${method} ${path} ${status} ${ms.toFixed(0)} ms${counts}${cut ? `, cut: ${cut}` : ""}`
}

function announce(
  { lm, name }: LoadedModel,
  { url, host, port }: Server,
  { id, apiKey, draft }: ServerOptions,
  adapters: readonly NamedAdapter[],
  { json }: Flags,
): void {
  const names = adapters.map((each) => each.name)
  if (json) {
    const { description: device } = lm.device
    printJsonLine({
      url,
      host,
      port,
      model: name,
      id,
      adapters: names,
      draft: draft?.name,
      device,
      parallel: lm.sequences,
    })
    return
  }
  const chat = lm.tokenizer?.hasChatTemplate
  const body = chat ? { messages: [{ role: "user", content: "Hello!" }] } : { prompt: "Hello" }
  const example = [
    `curl ${url}/v1/${chat ? "chat/completions" : "completions"} -H "Content-Type: application/json"`,
    ...(apiKey === undefined ? [] : ['-H "Authorization: Bearer $GEMLET_API_KEY"']),
    `-d ${shellWord(JSON.stringify(body))}`,
  ]
  process.stdout.write(`${[id, ...names].join(", ")} at ${url}/v1\n  ${example.join(" ")}\n`)
  const answers = lm.sequences === 1 ? "one answer" : `${lm.sequences} answers`
  note(`${lm.device.description}, ${answers} at a time, context of ${lm.context} tokens. Ctrl-C stops the server.`)
  if (draft) note(`${draft.name} drafts tokens, but for answers to a schema`)
  const local = /^(localhost|127\.|::1$)/.test(host)
  if (!local && apiKey === undefined) note(`${host} may be reached by other machines, and there is no --api-key`)
}

/** Waits for SIGTERM, which is a normal end, or throws at Ctrl-C. */
async function stopped(signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    process.once("SIGTERM", resolve)
    signal.addEventListener("abort", () => resolve())
    if (signal.aborted) resolve()
  })
  signal.throwIfAborted()
}
