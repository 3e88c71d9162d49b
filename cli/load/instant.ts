/**
 * Whether images of volumes, of a snapshot each, can all be of one instant, by what was asked and answered.
 *
 * The instant lies between two moments, the order of the snapshot and its answer. Up to the first every acknowledged
 * write is in it, from the second on none is: what may be there is kept at the second (`StampedClient.endInstant`).
 * An image says more: where it shows a write, the instant came after that one was sent, so everything that had been
 * acknowledged by then, of whatever block and volume, has to be there as well.
 */
import type { PastValue } from './block-history.ts'
import type { Found } from './stamp.ts'

export interface Image {
  name: string
  /** By block, as it was known when the snapshot was there. */
  possible: ReadonlyMap<number, readonly PastValue[]>
  /** Of each block, from the first on. */
  found: readonly Found[]
}

const ZEROES: readonly PastValue[] = [{ op: 0, sentAt: 0, from: 0, first: 0, last: 0 }]

/**
 * @param since  when the snapshot was ordered
 * @returns words about each block that contradicts; none: one instant explains all images
 */
export function contradictions(since: number, images: readonly Image[]): string[] {
  const wrong: string[] = []
  let after = { moment: since, words: 'the snapshot was ordered' }
  const shown: Array<{ where: string; values: readonly PastValue[]; seen: PastValue[] }> = []
  for (const { name, possible, found } of images) {
    for (const [lba, one] of found.entries()) {
      const where = `${name}: block ${lba}`
      const values = possible.get(lba) ?? ZEROES
      if ('wrong' in one) {
        wrong.push(`${where}: ${one.wrong}`)
        continue
      }
      // Several zeroes: any of them.
      const seen = values.filter(({ op }) => op === one.op)
      if (seen.length === 0) {
        const others = values.map(({ op }) => op).join(', ')
        wrong.push(`${where}: operation ${one.op} is shown, possible are ${others}`)
        continue
      }
      const sentAt = Math.min(...seen.map((value) => value.sentAt))
      const words = `operation ${one.op} of ${name} was sent, which is shown`
      if (sentAt > after.moment) after = { moment: sentAt, words }
      shown.push({ where, values, seen })
    }
  }
  const { moment, words } = after
  for (const { where, values, seen } of shown) {
    const over = seen.map((value) => values.find((other) =>
      other !== value && other.first < moment && value.from < other.last))
    const [first] = over
    if (first === undefined || over.includes(undefined)) continue
    wrong.push(`${where}: operation ${seen[0]!.op} is shown, but ${first.op} over it was there before ${words}`)
  }
  return wrong
}
