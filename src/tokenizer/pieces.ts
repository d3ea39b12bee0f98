import { stages, type Typed } from "./tokenizer_json.ts"

/** What one token adds to the output: text, or bytes of UTF-8 that may be part of a character. */
export type Piece = string | Uint8Array

/** How tokens become text. */
export interface Pieces {
  of(token: string): Piece
  /** How many spaces the decoder drops at the very start of a text. */
  readonly stripStart: number
}

/** Reads the decoder of tokenizer.json. Throws a TypeError for one that we do not run. */
export function createPieces(decoder: Typed): Pieces {
  const steps: ((piece: Piece) => Piece)[] = []
  let stripStart = 0
  let fused = false
  for (const stage of stages(decoder)) {
    switch (stage.type) {
      case "Replace": {
        const from = (stage.pattern as { String?: string }).String
        if (from === undefined) throw unsupported("Replace by Regex")
        const to = stage.content as string
        steps.push((piece) => (typeof piece === "string" ? piece.replaceAll(from, to) : piece))
        break
      }
      case "ByteFallback":
        steps.push((piece) => (typeof piece === "string" ? (fallbackByte(piece) ?? piece) : piece))
        break
      case "ByteLevel":
        steps.push((piece) => (typeof piece === "string" ? byteLevel(piece) : piece))
        break
      case "Metaspace": {
        const from = typeof stage.replacement === "string" ? stage.replacement : "▁"
        steps.push((piece) => (typeof piece === "string" ? piece.replaceAll(from, " ") : piece))
        if (stage.prepend_scheme !== "never" && stage.add_prefix_space !== false) stripStart = 1
        break
      }
      case "Fuse":
        fused = true
        break
      case "Strip": {
        const { content, start = 0, stop = 0 } = stage
        if (!fused || content !== " " || stop !== 0 || typeof start !== "number") throw unsupported("this Strip")
        stripStart = start
        break
      }
      default:
        throw unsupported(stage.type)
    }
  }
  return { of: (token) => steps.reduce<Piece>((piece, step) => step(piece), token), stripStart }
}

function unsupported(what: string): TypeError {
  return new TypeError(
    `tokenizer.json: decoder is ${what}, expected Replace, ByteFallback, Fuse, Strip of leading spaces, ByteLevel or Metaspace`,
  )
}

const BYTES = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte))

/** `<0xE2>` is the byte E2. */
function fallbackByte(token: string): Uint8Array | undefined {
  const hex = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1]
  return hex === undefined ? undefined : BYTES[Number.parseInt(hex, 16)]
}

/** GPT-2's alphabet: a printable Latin-1 character is its own byte, the other 68 bytes follow from U+0100. */
const BYTE_OF_CHARACTER = new Map<string, number>()
for (let byte = 0, next = 256; byte < 256; byte++) {
  const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173)
  BYTE_OF_CHARACTER.set(String.fromCharCode(printable ? byte : next++), byte)
}

/** The bytes of a byte-level token; a token with a character outside the alphabet (an added one) is its own UTF-8. */
function byteLevel(token: string): Uint8Array {
  const bytes: number[] = []
  for (const character of token) {
    const byte = BYTE_OF_CHARACTER.get(character)
    if (byte === undefined) return new TextEncoder().encode(token)
    bytes.push(byte)
  }
  return Uint8Array.from(bytes)
}
