/** What a volume, node, pool or tag may be called, and which known name was probably meant by an unknown one. */
import { IDENTITY_NAME } from '../tls/identity.ts'

const NAME = /^[a-z0-9-]{1,63}$/
const ID = /^[0-9a-f]{32}$/

export function isName(text: string): boolean {
  return NAME.test(text)
}

/** Of a volume, a snapshot or a group. Nothing new is called like that: who is asked takes names and ids. */
export function isId(text: string): boolean {
  return ID.test(text)
}

/** A node as others can be told of it: the preface of a connection between two has its name. */
export const isNodeName = (text: string): boolean => IDENTITY_NAME.test(text)

/** A name as it may be shown back: quoted, so that blanks are seen, and never unbounded. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text)
}

/** Number of single-character insertions, deletions, replacements and neighbour swaps between two short words. */
export function distance(a: string, b: string): number {
  let twoBack: number[] = []
  let above = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let least = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, twoBack[j - 2]! + 1)
      row.push(least)
    }
    twoBack = above
    above = row
  }
  return above[b.length]!
}

/** Nobody meant a name with a word that is longer; comparing would cost the product of both lengths. */
const NAME_LONGEST = 100

/** The candidate closest to `word` if it is close enough to be a slip: a prefix, or at most a third of it wrong. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  if (word.length > NAME_LONGEST) return undefined
  let best: string | undefined
  let bestDistance = Infinity
  for (const candidate of candidates) {
    const prefix = word.length >= 2 && candidate.startsWith(word)
    const apart = prefix ? 0.5 : distance(word, candidate)
    if (apart < bestDistance && (prefix || apart <= Math.max(1, Math.floor(candidate.length / 3)))) {
      best = candidate
      bestDistance = apart
    }
  }
  return best
}
