import { describe, expect, test } from "vitest"
import { type Conversation, newConversation } from "../../web/src/storage/conversation.ts"
import { exportText, readExport } from "../../web/src/storage/transfer.ts"

const FACTS = {
  model: "m",
  ending: "eos",
  tokens: 3,
  tokensPerSecond: 2,
  promptTokens: 1,
  reusedTokens: 0,
  seed: 7,
} as const

describe("readExport", () => {
  test("gives back what was exported, an adapter among it", () => {
    const plain = newConversation()
    const turn = { id: "t", role: "assistant", text: "a", facts: { ...FACTS, adapter: "Captain" } } as const
    const adapted: Conversation = { ...plain, adapter: { id: "x", name: "Captain" }, turns: [turn] }
    expect(readExport(exportText([plain, adapted]))).toEqual([plain, adapted])
  })

  test("refuses an adapter that is none, by its place", () => {
    for (const adapter of ["x", { id: 1, name: "n" }, { id: "x" }]) {
      const text = exportText([{ ...newConversation(), adapter } as unknown as Conversation])
      expect(() => readExport(text)).toThrow(/import: conversations\[0\]\.adapter.* expected/)
    }
  })
})
