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
  /** The most that one answer may take. */
  readonly patienceMs: number
  /** The most that everything may take. */
  readonly msInAll: number
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
  /** What it has yet to do, to be set up being the first. */
  turns: number
  /** When its turn ends at the latest. */
  until = 0

  constructor(entry: Entry, turns: number) {
    this.entry = entry
    this.turns = turns
  }

  /** How long the next answer may take. */
  patience({ patienceMs }: Plan): number {
    return Math.min(patienceMs, Math.max(0, this.until - performance.now()))
  }

  /** Goes on with what is asked unless something failed before. */
  async attempt(what: string, plan: Plan, work: (process: PeerProcess) => Promise<void>): Promise<void> {
    if (this.error !== undefined || !this.process) return
    this.process.patienceMs = this.patience(plan)
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

/** How many equal shares of the time that is left a turn may take: most need less than one. */
const SHARES = 4

/** The warm-up's round. */
const WARM_UP = 0

/**
 * Loads every peer, lets it do everything once to warm up, then measures in rounds, each peer once a round; who begins
 * moves on with every round, so that what else the machine does meets all.
 */
export async function measure(plan: Plan): Promise<PeerResult[]> {
  const all = plan.entries.map((entry) => new Contestant(entry, 1 + plan.rounds))
  const end = performance.now() + plan.msInAll
  const turn = async (contestant: Contestant, work: () => Promise<void>) => {
    const turns = all.reduce((sum, { turns }) => sum + turns, 0)
    const left = end - performance.now()
    contestant.until = performance.now() + Math.min(left, (SHARES * left) / turns)
    await work()
    contestant.turns = contestant.error === undefined ? contestant.turns - 1 : 0
  }
  try {
    for (const contestant of all) await turn(contestant, () => setUp(contestant, plan))
    for (let round = 1; round <= plan.rounds; round++) {
      const order = all.map((_, i) => all[(i + round) % all.length]!)
      for (const contestant of order) await turn(contestant, () => takeTurn(contestant, plan, round))
    }
  } finally {
    for (const { process } of all) await process?.stop()
  }
  const reference = all[0]
  return all.map((contestant) => resultOf(contestant, plan, contestant === reference ? undefined : reference))
}

async function setUp(contestant: Contestant, plan: Plan): Promise<void> {
  const { entry } = contestant
  const { device, prompts, log } = plan
  log(`${nameOf(entry)}: loads and warms up`)
  try {
    contestant.process = await PeerProcess.start(entry, device, contestant.patience(plan))
  } catch (error) {
    await contestant.fail("start", error)
  }
  await contestant.attempt("prepare", plan, async (process) => {
    await process.prepare()
  })
  await contestant.attempt("load", plan, async (process) => {
    const { ms, device } = await process.load()
    contestant.loadMs = ms
    contestant.device = device
  })
  for (const length of prompts) {
    await contestant.attempt(`warm-up, ${length} tokens`, plan, async (process) => {
      await process.generate(promptOf(length, WARM_UP), 2)
    })
  }
  if (contestant.error) log(`${nameOf(entry)}: ${contestant.error}`)
}

async function takeTurn(contestant: Contestant, plan: Plan, round: number): Promise<void> {
  const { prompts, tokens, log } = plan
  for (const length of prompts) {
    await contestant.attempt(`round ${round}, ${length} tokens`, plan, async (process) => {
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
