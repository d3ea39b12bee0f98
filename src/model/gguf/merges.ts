import { KINDS, type Vocabulary } from "./tokenizer.ts"

/** Two tokens that make a third. */
interface Join {
  readonly id: number
  readonly left: number
  readonly right: number
  readonly score: number
  readonly leftLength: number
  readonly rightLength: number
}

/**
 * The merges of byte-pair encoding that a SentencePiece model stands for: every way to cut a token into two others, the
 * highest score first. Ties are ordered as transformers orders them when it converts such a model (`generate_merges`): the
 * longer left part first, then the longer right one, then the lower id. User-defined tokens come before all others, as SentencePiece
 * takes them whole from the text.
 */
export function mergesOf({ tokens, kinds, scores }: Vocabulary): [string, string][] {
  const ids = new Map<string, number>()
  for (const [id, token] of tokens.entries()) if (isText(kinds[id]!)) ids.set(token, id)
  const joins: Join[] = []
  for (const [token, id] of ids) {
    const score = kinds[id] === KINDS.userDefined ? Number.POSITIVE_INFINITY : scores[id]!
    joins.push(...joinsOf(token, id, score, ids))
  }
  joins.sort(inOrder)
  return joins.map(({ left, right }) => [tokens[left]!, tokens[right]!])
}

/** Whether byte-pair encoding may make a token of this kind, and go on from it. */
function isText(kind: number): boolean {
  return kind === KINDS.normal || kind === KINDS.userDefined || kind === KINDS.unused
}

function joinsOf(token: string, id: number, score: number, ids: ReadonlyMap<string, number>): Join[] {
  const characters = [...token]
  const joins: Join[] = []
  let at = 0
  for (let i = 1; i < characters.length; i++) {
    at += characters[i - 1]!.length
    const left = ids.get(token.slice(0, at))
    const right = left === undefined ? undefined : ids.get(token.slice(at))
    if (left === undefined || right === undefined) continue
    joins.push({ id, left, right, score, leftLength: i, rightLength: characters.length - i })
  }
  return joins
}

function inOrder(a: Join, b: Join): number {
  if (a.score !== b.score) return a.score > b.score ? -1 : 1
  return b.leftLength - a.leftLength || b.rightLength - a.rightLength || a.id - b.id
}
