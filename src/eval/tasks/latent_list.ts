import type { Random } from "../../train/random.ts"
import { nearness, sameText } from "../score/latent_list.ts"
import type { Task } from "../task.ts"
import { drawProgram } from "../text/latent_list.ts"
import {
  answerOf,
  drawFiller,
  execute,
  type ListProgram,
  listNumber,
  type Operation,
  statement,
  viewStatement,
} from "../text/list_program.ts"
import { randomOf } from "../text/prompt.ts"
import { answerBaselines, answerInstance, answerText } from "./answers.ts"
import { answerTokens, gridPlans } from "./plans.ts"

/** Operations that the answer depends on, in turn. */
const COMPLEXITIES = [1, 5, 20]

const task = {
  name: "latent_list",
  defaults: { lengths: [1024, 2048, 4096, 8192], samples: 6, maxTokens: 64 },
}

/** What a program prints that changes a list now and then. */
export const latentList: Task = {
  ...task,
  summary: "what is left of a Python list after 1, 5 or 20 changes amid idle statements",
  metric: "accuracy",
  better: "higher",
  source: "Michelangelo, Vodrahalli et al. 2024, arXiv:2409.12640, section 3.1",
  data: [],
  plan: async (request) => gridPlans(task, request),
  async make(plan, context) {
    const random = randomOf(plan)
    const complexity = COMPLEXITIES[plan.sample % COMPLEXITIES.length]!
    const program = drawProgram(random, complexity)
    const target = answerOf(execute(program.start, program.operations), program.view)!
    const most = plan.length ?? 0
    const fillers = Array.from({ length: most }, () => drawFiller(random))
    return await answerInstance(plan, context, {
      most,
      maxTokens: answerTokens(task, context.request),
      refs: [target],
      meta: { view: program.view.of, complexity },
      build: (size, pad) => question(program, withFillers(program.operations, fillers.slice(0, size)), pad),
    })
  },
  score(instance, response) {
    const { text: all, instance: asked } = answerText(instance, response)
    const text = all.trim().split("\n")[0]!
    const target = asked.refs[0]!
    return { score: asked.meta.view === "print" ? sameText(text, target) : nearness(text, Number(target)) }
  },
  baselines: (plan, instance) => answerBaselines(plan, instance, (random) => guess(random, instance.meta.view)),
}

/** The operations spread evenly among blocks that change nothing. */
export function withFillers(operations: readonly Operation[], fillers: readonly (readonly Operation[])[]): Operation[] {
  const parts = operations.length + 1
  const cut = (part: number) => Math.floor((fillers.length * part) / parts)
  const between = (part: number) => fillers.slice(cut(part), cut(part + 1)).flat()
  return [...operations.flatMap((operation, i) => [...between(i), operation]), ...between(operations.length)]
}

function question(
  { start, view }: ListProgram,
  operations: readonly Operation[],
  pad: string,
): { user: string; prefix: string } {
  const lines = [`a = [${start.join(", ")}]`, ...operations.map(statement)]
  const end = pad === "" ? [] : [`#${pad.replaceAll("\n", "\n#")}`]
  const program = [...lines, ...end, viewStatement(view)].join("\n")
  return {
    user: `Here is a program in Python.\n\n${program}\n\nWhat does its last statement print? Answer with what is printed and nothing else.`,
    prefix: "Output:",
  }
}

function guess(random: Random, view: unknown): string {
  return view === "print" ? `[${listNumber(random)}]` : String(listNumber(random))
}
