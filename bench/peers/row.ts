import type { Spread } from "../../test/helpers/decode_timing.ts"
import type { Entry } from "./lineup.ts"

/** What a peer did after prompts of each length. */
export interface Figures {
  readonly prefillTokensPerSecond: Spread
  readonly decodeTokensPerSecond: Spread
  /** Greedy tokens before the first that is not the reference's, of `tokens + 1` in each round, of all rounds together. */
  readonly agreeing?: number
}

export interface PeerResult extends Pick<Entry, "runtime" | "dtype" | "computesOn"> {
  /** Its npm package and version, or the commit. */
  readonly version: string
  readonly device?: string
  readonly loadMs?: number
  /** By the prompt's tokens. */
  readonly prompts: Readonly<Record<string, Figures>>
  /** Why there is not more. */
  readonly error?: string
}

/** A line of bench/results/peers.jsonl: all peers in one run. */
export interface Row {
  readonly commit: string
  readonly date: string
  readonly runtime: string
  readonly cpu: string
  readonly device: string
  readonly software: boolean
  /** Of the minute before: above 0 there was other work. */
  readonly loadAverage: number
  readonly model: string
  readonly context: number
  readonly tokens: number
  readonly rounds: number
  /** Whose greedy tokens the others' are held to. */
  readonly reference?: string
  readonly peers: readonly PeerResult[]
}
