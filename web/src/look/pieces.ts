// What tokens are called: text as it is, with what cannot be seen made visible.

import type { WorkerLanguageModel } from "../engine.ts"

/** Asks what each of some ids is called, each once. Ids stand for themselves where the model has no tokenizer. */
export async function namesOf(lm: WorkerLanguageModel, ids: Iterable<number>): Promise<ReadonlyMap<number, string>> {
  const each = [...new Set(ids)].map(async (id) => [id, nameOf(id, await lm.tokenizer?.piece(id, false))] as const)
  return new Map(await Promise.all(each))
}

function nameOf(id: number, piece: string | Uint8Array | undefined): string {
  if (piece === undefined || piece.length === 0) return `#${id}`
  return visible(typeof piece === "string" ? piece : textOf(piece))
}

/** Bytes may be part of a character only. */
function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return [...bytes].map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`).join("")
  }
}

/** Characters that would not be seen, or would change how others are: a text may have been made to mislead. */
function visible(text: string): string {
  return text
    .replaceAll(" ", "·")
    .replaceAll("\n", "⏎")
    .replaceAll("\t", "⇥")
    .replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Zs}]/gu, (character) => {
      return `<U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}>`
    })
}
