import type { Source } from "./source.ts"

/** How much of a file is in memory at once, in bytes. */
export const PIECE = 8 * 2 ** 20

/** Reads bytes of where a weight lies, those from `start` to `end`. */
export type Read = (stored: { readonly source: Source }, start: number, end: number) => Promise<Uint8Array<ArrayBuffer>>
