import { createRequire } from "node:module"
import { type Spread, spread } from "../../test/helpers/decode_timing.ts"
import { SHAPE } from "./checkpoint.ts"
import { type Entry, nameOf } from "./lineup.ts"
import type { Generation } from "./peer.ts"
import { PeerProcess } from "./peer_process.ts"
import type { Figures, PeerResult } from "./row.ts"

export interface Plan {
  readonly entries: readonly Entry[]
  readonly device: string
  readonly prompts: readonly number[]
  readonly tokens: number
  readonly rounds: number
  readonly patienceMs: number
  /** What gemlet is called. */
  readonly commit: string
  readonly log: (line: string) => void
}

/** A peer as far as it got. */
class Contestant {
  readonly entry: Entry
  readonly samples = new Map<number, Generation[]>()
  process: PeerProcess | undefined
  device: string | undefined
  loadMs: number | undefined
  error: string | undefined

  constructor(entry: Entry) {
    this.entry = entry
  }

  /** Goes on with what is asked unless something failed before. */
  async attempt(what: string, work: (process: PeerProcess) => Promise<void>): Promise<void> {
    if (this.error !== undefined || !this.process) return
    try {
      await work(this.process)
    } catch (error) {
      await this.fail(what, error)
    }
  }

  async fail(what: string, error: unknown): Promise<void> {
    this.error = `${what}: ${(error as Error).message}`
    await this.process?.stop()
  }
}

/**
 * Begins with Gemma's first token; the rest is spread over the vocabulary. No two prompts of a
 * run begin alike, as runtimes may know what they have read before.
 */
function promptOf(length: number, round: number): number[] {
  const { vocabulary: V } = SHAPE
  const start = (1009 * round + length) * 104_729
  return [2, ...Array.from({ length: length - 1 }, (_, i) => 7 + ((start + i * 7919) % (V - 7)))]
}

/** The warm-up's round. */
const WARM_UP = 0

/**
 * Loads every peer, lets it do everything once to warm up, then measures in rounds, each peer once a round; who begins
 * moves on with every round, so that what else the machine does meets all.
 */
export async function measure(plan: Plan): Promise<PeerResult[]> {
  const all = plan.entries.map((entry) => new Contestant(entry))
  try {
    for (const contestant of all) await setUp(contestant, plan)
    for (let round = 1; round <= plan.rounds; round++) {
      const order = all.map((_, i) => all[(i + round) % all.length]!)
      for (const contestant of order) await takeTurn(contestant, plan, round)
    }
  } finally {
    for (const { process } of all) await process?.stop()
  }
  const reference = all[0]
  return all.map((contestant) => resultOf(contestant, plan, contestant === reference ? undefined : reference))
}

async function setUp(contestant: Contestant, { device, prompts, patienceMs, log }: Plan): Promise<void> {
  const { entry } = contestant
  log(`${nameOf(entry)}: loads and warms up`)
  try {
    contestant.process = await PeerProcess.start(entry, device, patienceMs)
  } catch (error) {
    await contestant.fail("start", error)
  }
  await contestant.attempt("prepare", async (process) => {
    await process.prepare()
  })
  await contestant.attempt("load", async (process) => {
    const { ms, device } = await process.load()
    contestant.loadMs = ms
    contestant.device = device
  })
  for (const length of prompts) {
    await contestant.attempt(`warm-up, ${length} tokens`, async (process) => {
      await process.generate(promptOf(length, WARM_UP), 2)
    })
  }
  if (contestant.error) log(`${nameOf(entry)}: ${contestant.error}`)
}

async function takeTurn(contestant: Contestant, { prompts, tokens, log }: Plan, round: number): Promise<void> {
  for (const length of prompts) {
    await contestant.attempt(`round ${round}, ${length} tokens`, async (process) => {
      // The first token is the prompt's.
      const generation = await process.generate(promptOf(length, round), tokens + 1)
      contestant.samples.set(length, [...(contestant.samples.get(length) ?? []), generation])
      const [first, each] = [generation.firstMs, generation.msPerToken].map((ms) => ms.toFixed(1))
      log(`${nameOf(contestant.entry)}: ${length} tokens ${first} ms, each further ${each} ms`)
    })
  }
}

function resultOf(
  { entry, samples, device, loadMs, error }: Contestant,
  plan: Plan,
  reference?: Contestant,
): PeerResult {
  const { runtime, dtype, computesOn } = entry
  const figures = [...samples].map(([length, generations]): [string, Figures] => {
    const truth = reference?.samples.get(length)
    const of = (rate: (generation: Generation) => number): Spread => spread(generations.map(rate))
    const rates = {
      prefillTokensPerSecond: of(({ firstMs }) => (1000 * length) / firstMs),
      decodeTokensPerSecond: of(({ msPerToken }) => 1000 / msPerToken),
    }
    return [`${length}`, truth ? { ...rates, agreeing: agreeing(generations, truth) } : rates]
  })
  const version = versionOf(entry, plan.commit)
  return { runtime, dtype, computesOn, version, device, loadMs, prompts: Object.fromEntries(figures), error }
}

/** Tokens before the first that differs, of all rounds. */
function agreeing(generations: readonly Generation[], truth: readonly Generation[]): number {
  return generations.reduce((sum, { ids }, round) => {
    const first = ids.findIndex((id, i) => id !== truth[round]?.ids[i])
    return sum + (first < 0 ? ids.length : first)
  }, 0)
}

function versionOf({ package: name }: Entry, commit: string): string {
  if (!name) return commit
  const { dependencies } = createRequire(import.meta.url)("./package.json") as { dependencies: Record<string, string> }
  return `${name} ${dependencies[name]}`
}
