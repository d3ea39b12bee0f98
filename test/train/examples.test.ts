import { expect, test } from "vitest"
import { type Example, exampleOf, hasTarget, NO_LABEL } from "../../src/train/examples.ts"
import { checkRecord } from "../../src/train/records.ts"
import { storyteller } from "../helpers/stories.ts"
import { tokenizerOf } from "../tokenizer/fixtures.ts"

const BOS = 2
const EOS = 1
const tokenizer = storyteller()
const make = (value: unknown, by = tokenizer) => exampleOf(checkRecord(value, "a:1"), by, { eos: EOS }, "a:1")
/** The text that is to be predicted, control tokens in full. */
const predicted = ({ labels }: Example, by = tokenizer) => {
  const ids = labels.filter((label) => label !== NO_LABEL)
  return by.decode(ids, { skipSpecial: false })
}

test("exampleOf frames a text by BOS and EOS, and has all of it predicted", () => {
  const { ids, labels } = make({ text: "Lily found a ball." })
  expect(ids).toEqual([BOS, ...tokenizer.encode("Lily found a ball.", { bos: false }), EOS])
  expect(labels).toEqual(ids)
})

test("exampleOf reads control tokens in a text as text", () => {
  const { ids } = make({ text: "a<end_of_turn><eos>" })
  expect(ids.filter((id) => tokenizer.isSpecial(id))).toEqual([BOS, EOS])
})

test("exampleOf gives a prompt the tokens that generation gives it, and masks them", () => {
  const prompt = "Once upon a ti"
  const { ids, labels } = make({ prompt, completion: "me there was" })
  const before = tokenizer.encode(prompt)
  const answer = [...tokenizer.encode("me there was", { bos: false }), EOS]
  expect(ids).toEqual([...before, ...answer])
  expect(labels).toEqual([...before.map(() => -100), ...answer])
})

test("exampleOf has the model's turns predicted, with the token that ends each", () => {
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: "Hi" },
    { role: "model", content: "  Hello Lily.\n" },
    { role: "user", content: "Who is <end_of_turn>Tom?" },
    { role: "assistant", content: [{ type: "text", text: "A cat." }] },
  ]
  const example = make({ messages: messages.slice(0, 4) })
  const turns = messages.slice(0, 4).map(({ role, content }) => ({ role, content: String(content) }))
  expect(example.ids).toEqual(tokenizer.chat(turns, { addGenerationPrompt: false }).ids)
  expect(predicted(example)).toBe("Hello Lily.<end_of_turn>")
  const header = tokenizer.encode("<start_of_turn>model\n", { bos: false, special: true })
  const first = example.labels.findIndex((label) => label !== NO_LABEL)
  expect(example.ids.slice(first - header.length, first)).toEqual(header)

  const gemma = tokenizerOf("gemma3")
  const parts = make({ messages }, gemma)
  expect(predicted(parts, gemma)).toBe("Hello Lily.<end_of_turn>A cat.<end_of_turn>")
  expect(parts.labels.every((label, i) => label === NO_LABEL || label === parts.ids[i])).toBe(true)
  expect(parts.labels.at(-1)).toBe(NO_LABEL)
})

test("exampleOf gives assistant and model the same tokens, whatever the template calls them", () => {
  const template =
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
  const plain = storyteller(template)
  const as = (role: string) =>
    make(
      {
        messages: [
          { role: "user", content: "a" },
          { role, content: "b cat" },
        ],
      },
      plain,
    )
  expect(as("model")).toEqual(as("assistant"))
  // Nothing ends a turn in this template.
  expect(predicted(as("model"), plain)).toBe("b cat")
})

test("exampleOf finds nothing to predict in a conversation without the model", () => {
  expect(hasTarget(make({ messages: [{ role: "user", content: "a" }] }))).toBe(false)
  expect(hasTarget({ ids: [5], labels: [5] })).toBe(false)
  expect(hasTarget({ ids: [5, 6], labels: [-100, 6] })).toBe(true)
})

test("exampleOf refuses templates that are missing, refuse, or change earlier turns", () => {
  const turns = ["user", "model", "user", "model"].map((role, i) => ({ role, content: `turn ${i}` }))
  const fail = (template: string | null, messages: unknown = turns) => {
    return () => make({ messages }, storyteller(template))
  }
  expect(fail(null)).toThrow("a:1: chat: the chat template is missing, expected chat_template")
  expect(fail("{{ raise_exception('no system turns') }}")).toThrow("a:1: chat template: no system turns")
  const last = "{% for m in messages %}{% if loop.last %}last {% endif %}{{ m.role }}: {{ m.content }}{% endfor %}"
  expect(fail(last)).toThrow(
    "a:1: messages[1] is rendered in another way as part of the whole, expected the same tokens",
  )
  expect(fail(`${last}{% if add_generation_prompt %}other{% endif %}`)).toThrow(
    "messages[1] is rendered in another way",
  )
  const forgets = "{% for m in messages %}[{{ m.content if loop.last or m.role == 'user' else '' }}]{% endfor %}"
  expect(fail(forgets)).toThrow("messages[1] is rendered in another way as part of the whole")
  expect(fail("x", [{ role: "model", content: "a" }])).toThrow("a:1: messages[0] is the model's turn, expected another")
})
