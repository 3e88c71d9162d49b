/**
 * I24: who is served holds the volume. A primary may learn late who holds it no more; but it knows the configuration
 * of its own epoch, and whoever opens a session knows the configuration that gave it. Nothing that comes in later is
 * answered to a former holder, by anybody. In mode `open` everybody holds the present generation (S3).
 */
import type { Attach, VolumeConfig } from '../../../../engine/replication/configuration.ts'
import type { Session } from '../../../../engine/replication/record.ts'
import { covers, type SessionFence } from '../../../../engine/replication/session-fence.ts'
import type { Era, Violation } from './history.ts'

export class Holders {
  /** As the cluster store had them, one after the other, and which of them each epoch began with. */
  private readonly states: Attach[]
  private readonly ofEpoch = new Map<number, number>()
  /** Since when somebody acted upon which of them. */
  private readonly known: Array<{ at: number; index: number }> = []

  /** The newest incarnation that was opened, of each generation. */
  private readonly open = new Map<number, number>()

  constructor(initial: VolumeConfig) {
    this.states = [initial.attach]
    this.ofEpoch.set(initial.epoch, 0)
  }

  /** A CAS won. */
  configured({ attach, epoch }: VolumeConfig): void {
    this.states.push(attach)
    if (!this.ofEpoch.has(epoch)) this.ofEpoch.set(epoch, this.states.length - 1)
  }

  /** C9: somebody leads who knows nothing of what the others refuse. */
  forced(): void {
    this.open.clear()
  }

  /** A copy leads, reconciled, under this epoch. */
  active(epoch: number, at: number): void {
    this.knows(this.ofEpoch.get(epoch) ?? 0, at)
  }

  /** A session is told that it is open. */
  opened(node: string, epoch: number, client: string, generation: number, at: number): Violation[] {
    // Who does not know yet that another one leads may say so: nothing comes of it.
    const isHeld = this.isHeld(client, generation, this.ofEpoch.get(epoch) ?? 0)
    this.knows(
      this.states.findIndex((state) => state.generation >= generation),
      at,
    )
    return isHeld ? [] : [violation(`${node} opens generation ${generation} of ${client}, who does not hold it`)]
  }

  /** A session was opened by who leads. */
  isOpen({ generation, incarnation }: Session): void {
    this.open.set(generation, Math.max(this.open.get(generation) ?? 0, incarnation))
  }

  /** Members of the set, or who joins it: each refuses, durably, what is older than a session that was opened. */
  fenced(fences: ReadonlyMap<string, SessionFence>, { attach }: VolumeConfig): Violation[] {
    const found: Violation[] = []
    if (attach.mode === 'open') return found
    for (const generation of Object.values(attach.holders)) {
      const incarnation = this.open.get(generation)
      if (incarnation === undefined) continue
      for (const [node, fence] of fences) {
        if (covers(fence, { brokenGeneration: 0, incarnations: [[generation, incarnation]] })) continue
        const session = `${generation}.${incarnation}`
        found.push(violation(`${node} does not refuse what is older than session ${session}, which is open`))
      }
    }
    return found
  }

  /** `arrivedAt`: when the request came to that node. */
  served(
    node: string,
    client: string,
    { kind, generation, arrivedAt }: { kind: 'read' | 'write' | 'flush'; generation: number; arrivedAt: number },
  ): Violation[] {
    const from = this.knownBefore(arrivedAt)
    if (!this.isHeld(client, generation, from)) {
      return [violation(`${node} serves generation ${generation} of ${client}, who does not hold it`)]
    }
    const isReadOnly = this.states.slice(from).every(({ mode }) => mode === 'read-only')
    return kind === 'write' && isReadOnly ? [violation(`${node} takes a write of a read-only volume`)] : []
  }

  /** The newest session of a client is told that it is stale. */
  refused(client: string, generation: number): Violation[] {
    if (!this.isHeld(client, generation, this.states.length - 1)) return []
    return [violation(`generation ${generation} of ${client} is refused, who holds it`)]
  }

  private isHeld(client: string, generation: number, from: number): boolean {
    return this.states
      .slice(from)
      .some((state) => (state.mode === 'open' ? state.generation : state.holders[client]) === generation)
  }

  private knows(index: number, at: number): void {
    if (index > (this.known.at(-1)?.index ?? 0)) this.known.push({ at, index })
  }

  private knownBefore(at: number): number {
    return this.known.findLast((one) => one.at < at)?.index ?? 0
  }
}

/**
 * In the log nothing of an older session of an attachment stands behind something of a newer one; with one holder at a
 * time, nothing of any older session.
 */
export function checkSessionsInOrder(eras: readonly Era[], isSingle: boolean): Violation[] {
  const violations: Violation[] = []
  for (const { log } of eras) {
    const last = new Map<number, Session>()
    for (const { seq, request } of log) {
      if (request === '') continue
      const [generation = 0, incarnation = 0] = request.split('.').map(Number)
      const before = last.get(isSingle ? 0 : generation) ?? { generation: 0, incarnation: 0 }
      const isOlder = (generation - before.generation || incarnation - before.incarnation) < 0
      if (isOlder) {
        const newer = `${before.generation}.${before.incarnation}`
        violations.push(violation(`seq ${seq} is of session ${generation}.${incarnation}, behind one of ${newer}`))
      } else last.set(isSingle ? 0 : generation, { generation, incarnation })
    }
  }
  return violations
}

const violation = (message: string): Violation => ({ checker: 'holders', message })
