/**
 * What follows when something happens to a copy, worked out once: the same copy, the same thing and the same values of
 * the cluster store have the same outcome, whatever the rest of the state is.
 */
import { copyOf } from './canonical.ts'
import { happen, type Happening } from './local-copy.ts'
import type { Parts } from './parts.ts'

/** What follows when something happens to a copy. */
export interface Outcome {
  copyId: number
  sent: Array<{ link: number; message: number }>
  replies: ReturnType<typeof happen>['replies']
  didRead: boolean
  failure: string | undefined
}

export class Outcomes {
  worked = 0
  private readonly parts: Parts
  private readonly names = new Map<string, number>()
  private readonly outcomes = new Map<number, Outcome>()

  constructor(parts: Parts) {
    this.parts = parts
  }

  /** Of what happens, other than that a message arrives. */
  nameOf(text: string): number {
    let name = this.names.get(text)
    if (name === undefined) this.names.set(text, (name = 2 * this.names.size))
    return name
  }

  /** That a message arrives. */
  nameOfArrival(message: number): number {
    return 2 * message + 1
  }

  outcomeOf(copyId: number, what: Happening, name: number, cluster: number, isLate = false): Outcome {
    const key = ((name * 256 + cluster) * 2 + Number(isLate)) * 2 ** 22 + copyId
    const known = this.outcomes.get(key)
    if (known !== undefined) return known
    this.worked++
    const { parts } = this
    const { bounds, nodes } = parts
    const copy = copyOf(parts.copies.get(copyId).copy)
    let outcome: Outcome
    try {
      const { sent, replies, didRead } = happen(copy, what, bounds, parts.clusters.get(cluster), isLate)
      const from = nodes.indexOf(copy.node)
      outcome = {
        copyId: parts.copyIdOf(copy),
        sent: sent
          .filter(({ to }) => to !== copy.node && nodes.includes(to))
          .map(({ to, message }) => ({
            link: parts.linkAt(from, nodes.indexOf(to)),
            message: parts.messageIdOf({ from: copy.node, to, instance: `${copy.node}${copy.life}`, message }),
          })),
        replies,
        didRead,
        failure: undefined,
      }
    } catch (error) {
      const failure = (error as Error).stack?.split('\n').slice(0, 4).join(' ') ?? String(error)
      outcome = { copyId, sent: [], replies: [], didRead: false, failure }
    }
    this.outcomes.set(key, outcome)
    return outcome
  }
}
