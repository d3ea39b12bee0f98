import { describe, expect, test } from "vitest"
import { memoryData } from "../../src/eval/data.ts"
import type { Instance, Plan } from "../../src/eval/task.ts"
import { withFillers } from "../../src/eval/tasks/latent_list.ts"
import { drawProgram, idleOperations } from "../../src/eval/text/latent_list.ts"
import { answerOf, drawFiller, execute, statement, viewStatement } from "../../src/eval/text/list_program.ts"
import { Random } from "../../src/train/random.ts"
import { storyteller } from "../helpers/stories.ts"
import { make, taskOf } from "./make.ts"
import { runPython } from "./oracle.ts"

const tokenizer = storyteller()

describe("needles", () => {
  test("lie at the depth asked for, and the text before them is the same at all depths", async () => {
    for (const name of ["niah_single", "niah_multikey", "niah_magic"]) {
      const made = await make(taskOf(name), { lengths: [2048], depths: [0, 30, 85, 100], samples: 1 })
      expect(new Set(made.map(({ plan }) => plan.group)).size).toBe(1)
      const begin = name === "niah_magic" ? 0 : made[0]!.instance.text.indexOf("\n\n") + 2
      const bodies = made.map(({ instance: { text } }) => text.slice(begin, text.lastIndexOf("\n\n")))
      const [value] = made[0]!.instance.meta.values as string[]
      for (const [i, { plan }] of made.entries()) {
        const at = bodies[i]!.indexOf(value!)
        const depth = (100 * at) / bodies[i]!.length
        expect(Math.abs(depth - plan.depth!), `${plan.id} at ${depth}`).toBeLessThan(5)
        const before = bodies[i]!.slice(0, Math.max(0, at - 60))
        expect(bodies.at(-1)!.startsWith(before), plan.id).toBe(true)
      }
    }
  })

  test("of several values or keys are all there once", async () => {
    for (const name of ["niah_multivalue", "niah_multiquery"]) {
      for (const { instance } of await make(taskOf(name), { lengths: [2048], samples: 2 })) {
        const values = instance.meta.values as string[]
        expect(new Set(values).size).toBe(4)
        for (const value of values) expect(instance.text.split(value).length).toBe(2)
      }
    }
  })
})

describe("latent_list", () => {
  test("programs say what another interpreter says, with idle statements and without, and all their operations count", () => {
    const random = new Random(5)
    const kinds = new Set<string>()
    for (let i = 0; i < 60; i++) {
      const count = [1, 5, 20][i % 3]!
      const program = drawProgram(random, count)
      const { start, operations, view } = program
      expect(operations.length).toBe(count)
      expect(idleOperations(program)).toEqual([])
      const answer = answerOf(execute(start, operations), view)
      const fillers = Array.from({ length: 50 }, () => drawFiller(random))
      const filled = withFillers(operations, fillers)
      expect(filled.length).toBeGreaterThan(operations.length + 49)
      for (const all of [operations, filled]) {
        const lines = [`a = [${start.join(", ")}]`, ...all.map(statement), viewStatement(view)]
        expect(runPython(lines.join("\n"))).toBe(answer)
      }
      kinds.add(view.of)
      for (const operation of operations) kinds.add(operation.do)
    }
    for (const kind of ["print", "sum", "min", "max", "len", "append", "insert", "pop", "remove", "sort", "reverse"]) {
      expect(kinds).toContain(kind)
    }
  })

  test("idle statements alone change no list", () => {
    const random = new Random(6)
    for (let i = 0; i < 200; i++) expect(execute([3, 1, 2], drawFiller(random))).toEqual([3, 1, 2])
  })
})

describe("idk", () => {
  test("has no answer for exactly 70 % of ten samples, and the one that it has among the options otherwise", async () => {
    const made = await make(taskOf("idk"), { lengths: [700], samples: 20 })
    for (const half of [made.slice(0, 10), made.slice(10)]) {
      expect(half.filter(({ instance }) => instance.kind === "answer" && instance.refs[0] === "D").length).toBe(7)
    }
    for (const { instance } of made) {
      const options = instance.meta.options as string[]
      expect(new Set(options).size).toBe(4)
      expect(options[3]).toBe("I don't know")
    }
    expect(
      new Set(made.flatMap(({ instance }) => (instance.kind === "answer" ? instance.refs : []))).size,
    ).toBeGreaterThan(2)
  })

  test("takes a letter, or words for not knowing where that is right", async () => {
    const task = taskOf("idk")
    const made = await make(task, { lengths: [700], samples: 10 })
    const score = (right: boolean, text: string) => {
      const { instance } = made.find(({ instance }) => instance.meta.answerable === right)!
      return task.score(instance, { kind: "answer", text }).score
    }
    for (const text of ["D", "D)", "(D) I don't know", "It cannot be answered.", "That is not mentioned"]) {
      expect(score(false, text), text).toBe(1)
      expect(score(true, text), text).toBe(0)
    }
    for (const text of ["", "Dogs", "E", "because"]) expect(score(false, text), text).toBe(0)
  })
})

describe("mrcr", () => {
  test("has n different texts of what is asked for, the target among them, in a conversation that its questions share", async () => {
    for (const n of [2, 4, 8]) {
      const made = await make(taskOf(`mrcr_${n}`), { lengths: [3000], samples: 4 })
      expect(new Set(made.map(({ plan }) => plan.group)).size).toBe(1)
      const bodies = new Set(made.map(({ instance }) => instance.text.slice(0, instance.text.indexOf("======"))))
      expect(bodies.size).toBe(1)
      for (const { instance } of made) {
        const { format, topic, style, ordinal, mark } = instance.meta
        const wanted = new RegExp(`Write an? ${format} about ${topic} in an? ${style} style\\.\nAssistant: (.*)`, "g")
        const texts = [...instance.text.matchAll(wanted)].map(([, text]) => text)
        expect(texts.length).toBe(n)
        expect(new Set(texts).size).toBe(n)
        expect(instance.kind === "answer" && instance.refs[0]).toBe(`${mark} ${texts[Number(ordinal)]}`)
      }
    }
  })
})

describe("losses", () => {
  test("of a uniform model are log V by position and the size of the vocabulary by token", async () => {
    const V = 4096
    for (const name of ["position_loss", "perplexity"]) {
      const task = taskOf(name)
      for (const { instance } of await make(task, { lengths: [1000], samples: 2 })) {
        if (instance.kind !== "loss") throw new Error("expected losses")
        const losses = new Float32Array(instance.ids.length - instance.from).fill(Math.log(V))
        const { score, parts, positions } = task.score(instance, { kind: "loss", losses })
        expect(score).toBeCloseTo(Math.log(V), 5)
        expect(parts!.token_perplexity! / V).toBeCloseTo(1, 5)
        for (const { loss } of positions ?? []) expect(loss).toBeCloseTo(Math.log(V), 5)
        expect(parts!.bits_per_byte! / ((losses.length * Math.log2(V)) / instance.bytes)).toBeCloseTo(1, 5)
      }
    }
  })

  test("of no model: every byte as likely as any other is 8 bits a byte", async () => {
    const task = taskOf("position_loss")
    const [{ plan, instance }] = (await make(task, { lengths: [1000], samples: 1 })) as [
      { plan: Plan; instance: Instance },
    ]
    const { empty, echo } = task.baselines!(plan, instance)
    expect(task.score(instance, empty).parts!.bits_per_byte).toBeCloseTo(8, 4)
    expect(task.score(instance, echo).score).toBeLessThan(task.score(instance, empty).score)
  })
})

describe("files of a user's own", () => {
  const ruler = [
    { input: "Find it. One is 12.", outputs: ["12"], answer_prefix: " It is" },
    { input: "Who?", outputs: ["Ann", "Anna"], task: "qa_1" },
  ]
  const text = "User: write\nAssistant: a poem\n\nUser: again"
  const mrcr = [
    { queries: text, answer: "AbCdEf123456a poem" },
    { prompt: '[{"role":"user","content":"again"}]', answer: "Zz9a poem", random_string_to_prepend: "Zz9" },
  ]
  const data = memoryData({ ruler, mrcr })

  test("ruler_file scores all references, and any of a question's", async () => {
    const task = taskOf("ruler_file")
    const [needle, question] = await make(task, {}, { data, format: "text" })
    expect(needle!.instance.text).toBe("Find it. One is 12.\nIt is")
    expect(task.score(needle!.instance, { kind: "answer", text: "It is 12" }).score).toBe(1)
    expect(task.score(question!.instance, { kind: "answer", text: "anna" }).score).toBe(1)
  })

  test("mrcr_file takes texts and messages, and a mark of any length", async () => {
    const task = taskOf("mrcr_file")
    const [first, second] = await make(task, {}, { data })
    expect(first!.instance.text).toBe(text)
    expect(task.score(first!.instance, { kind: "answer", text: "AbCdEf123456 a poem" }).score).toBe(1)
    expect(second!.instance.text).toBe("user: again")
    expect(task.score(second!.instance, { kind: "answer", text: "Zz9 a poem" }).parts).toEqual({ strict: 1 })
  })

  test("name the record that is wrong", async () => {
    const bad = memoryData({ ruler: [{ input: "x", outputs: "12" }], mrcr: [{ answer: "abc", queries: 7 }, 5] })
    await expect(make(taskOf("ruler_file"), {}, { data: bad })).rejects.toThrow(
      'ruler:1: outputs is "12", expected a list of texts',
    )
    await expect(make(taskOf("mrcr_file"), { samples: 1 }, { data: bad })).rejects.toThrow(
      "mrcr:1: prompt is 7, expected a text or a list of messages",
    )
    const small = { name: "small", context: 64, tokenizer }
    await expect(make(taskOf("ruler_file"), {}, { data, model: small })).rejects.toThrow(
      /expected at most the context of small, 64/,
    )
  })
})
