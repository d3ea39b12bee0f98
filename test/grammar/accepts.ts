import { Automaton, type State } from "../../src/grammar/automaton.ts"
import type { Bytes } from "../../src/grammar/node.ts"
import { type Schema, schemaNode } from "../../src/grammar/schema.ts"

const BYTES = Array.from({ length: 256 }, (_, byte) => byte)

/** What the automaton of a schema says of whole texts. */
export function accepts(schema: Schema): (text: string) => boolean {
  const automaton = new Automaton(schemaNode(schema))
  return (text) => {
    automaton.begin()
    let state: State | null = automaton.start
    for (const byte of new TextEncoder().encode(text)) state = state && automaton.step(state, byte)
    return state?.whole ?? false
  }
}

/** A text that the automaton accepts, by a walk of random bytes; undefined where it gets too long. */
export function randomText(schema: Schema, next: () => number, most = 400): string | undefined {
  const automaton = new Automaton(schemaNode(schema))
  const bytes: number[] = []
  let state: State = automaton.start
  while (bytes.length < most) {
    if (state.whole && (state.final || next() < 0.3))
      return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes))
    const open = BYTES.filter((byte) => state.ways.some(({ node }) => (node as Bytes).set[byte] === 1))
    const structure = open.filter((byte) => '"]},'.includes(String.fromCharCode(byte)))
    const from = structure.length > 0 && next() < 0.4 ? structure : open
    const byte = from[Math.floor(next() * from.length)]!
    bytes.push(byte)
    state = automaton.step(state, byte)!
  }
  return undefined
}
