import { type Command, Option } from "commander"
import { type GenerationOptions, type LanguageModel, WEIGHT_PRECISIONS, type WeightPrecision } from "../src/index.ts"
import { loadModel } from "./model.ts"
import { type ModelFlags, oneOf, whole } from "./options.ts"

/** A model that proposes tokens. */
export interface DraftFlags {
  readonly draft?: string
  readonly draftDtype?: WeightPrecision
  readonly draftTokens?: number
}

export function addDraftOptions(command: Command): Command {
  return command
    .optionsGroup("Draft:")
    .addOption(
      new Option(
        "--draft <location>",
        "a smaller model with the same tokens that proposes some: the text stays, time may not",
      ).conflicts("schema"),
    )
    .addOption(
      new Option("--draft-dtype <type>", "its weights on the GPU, as --dtype says").argParser(
        oneOf("--draft-dtype", WEIGHT_PRECISIONS),
      ),
    )
    .option("--draft-tokens <n>", "the most that it proposes at a time (default: 4)", whole("--draft-tokens", 1, 16))
}

/** Fails where flags are of a draft that is not there, before anything is loaded. */
export function checkDraft({ draft, draftDtype, draftTokens }: DraftFlags): void {
  if (draft !== undefined) return
  const flag = draftDtype !== undefined ? "--draft-dtype" : draftTokens !== undefined ? "--draft-tokens" : undefined
  if (flag) throw new RangeError(`${flag}: --draft is missing, expected a model to draft with`)
}

/** Loads the draft that the flags name beside a model, which must outlive it. */
export async function loadDraft(
  lm: LanguageModel,
  { draft: model, draftDtype: dtype, device, chunk }: DraftFlags & ModelFlags,
  signal: AbortSignal,
): Promise<LanguageModel | undefined> {
  if (model === undefined) return undefined
  const { context, sequences } = lm
  const loaded = await loadModel({ model, dtype, device, chunk, context }, signal, { beside: lm, sequences })
  return loaded.lm
}

/** The library's options of a draft. */
export function draftOptions(
  { draftTokens }: DraftFlags,
  draft: LanguageModel | undefined,
): Pick<GenerationOptions, "draft" | "draftTokens"> {
  return { draft, draftTokens }
}
