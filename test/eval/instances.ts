import type { EvalData, EvalTokenizer, Task } from "../../src/eval/task.ts"

/** Tokens of each instance, where a task has a choice. */
const LENGTH = 2048

/**
 * A hash of the first instances of each task: the same on every runtime. Runs in Node, Deno and browsers.
 *
 * @param tokenizer storyteller's
 */
export async function instanceHashes(
  tasks: readonly Task[],
  tokenizer: EvalTokenizer,
  data: EvalData,
): Promise<Record<string, string>> {
  const model = { name: "storyteller", context: 2 ** 20, tokenizer }
  const hashes: Record<string, string> = {}
  for (const task of tasks) {
    if (task.name.endsWith("_file")) continue // made of a user's own
    const { lengths, depths } = task.defaults
    const request = { seed: 7, samples: 2, ...(lengths && { lengths: [LENGTH] }), ...(depths && { depths: [0, 60] }) }
    const instances: unknown[] = []
    for (const plan of (await task.plan(request, data)).slice(0, 4)) {
      instances.push({ plan, instance: await task.make(plan, { model, data, format: undefined, request }) })
    }
    hashes[task.name] = await sha256(JSON.stringify(instances))
  }
  return hashes
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("")
}
