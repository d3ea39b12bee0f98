/** Positions that peers with a cache of fixed size are given. */
export const CONTEXT = 1024

/** What other runtimes are to the bench. One module each, run in a process of its own. */
export interface Peer {
  /** Makes the files that it reads, where they are missing. Not timed. */
  prepare(): Promise<void>
  load(): Promise<LoadedPeer>
}

export interface LoadedPeer {
  /** What it runs on, in its own words where it has any. */
  readonly device?: string
  /** Greedy tokens after `ids`, from an empty cache; past an end token too, where it can. */
  generate(ids: readonly number[], tokens: number, onToken: (id: number) => void): Promise<void>
}

/** A peer's module. */
export interface PeerModule {
  /** @param device as the bench was asked for it, or `cpu` for one that computes there */
  peer(dtype: string, device: string): Peer
}

/** What the bench asks a peer's process, one JSON line each. */
export type Request = { do: "prepare" } | { do: "load" } | { do: "generate"; ids: readonly number[]; tokens: number }

export interface Loading {
  readonly ms: number
  readonly device?: string
}

export interface Generation {
  readonly ids: readonly number[]
  /** From the call to the first token: the whole prompt and one choice. */
  readonly firstMs: number
  /** Of each further token. */
  readonly msPerToken: number
}

export type Reply = { result: unknown } | { error: string }
