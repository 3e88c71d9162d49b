/**
 * I1, I2, I3, I8, I12: who may do what, under which epoch. Fed with what happens as it happens; answers with what
 * is wrong about it. A primary is active from the step in which it begins to serve, whether anybody asks it or not.
 */
import { FORCED_EPOCH_STEP, type VolumeConfig } from '../../../../engine/replication/configuration.ts'
import { covers, type SessionFence } from '../../../../engine/replication/session-fence.ts'
import type { Violation } from './history.ts'

export class OnePrimaryPerEpoch {
  private readonly byEpoch = new Map<number, VolumeConfig>()
  private last: VolumeConfig
  /** By node: what its store last said is kept, and what this process asked it to keep. */
  private readonly kept = new Map<string, number>()
  private readonly told = new Map<string, number>()
  /** The highest epoch under which somebody began to serve, and since when. */
  private activeEpoch = 0
  private activeSince = 0

  constructor(initial: VolumeConfig) {
    this.last = initial
    this.byEpoch.set(initial.epoch, initial)
  }

  /**
   * A CAS won. `isConsistent` of the copy of a node. `unfit`: who asked for it, if he may not lead himself: when he was
   * named, he passes the lead on and does not know to whom; nor may that one lead, and passes it on (C3).
   */
  configured(config: VolumeConfig, isConsistent: (node: string) => boolean, unfit?: string): Violation[] {
    const found: string[] = []
    const { epoch, primary, inSync, members } = config
    const before = this.last
    const text = describe(config)
    if (epoch < before.epoch) found.push(`the epoch went back from ${before.epoch}: ${text}`)
    const same = this.byEpoch.get(epoch)
    if (same !== undefined && describe(same) !== text) found.push(`epoch ${epoch} is ${describe(same)} and ${text}`)
    if (!inSync.includes(primary)) found.push(`the primary is not in the set: ${text}`)
    if (inSync.length === 0 || inSync.some((node) => members[node] === undefined)) {
      found.push(`the set is not within the members: ${text}`)
    }
    const isForced = epoch >= before.epoch + FORCED_EPOCH_STEP
    if (!isForced && primary !== before.primary) {
      if (!before.inSync.includes(primary)) found.push(`${primary} was promoted from outside the set: ${text}`)
      if (unfit !== before.primary && !isConsistent(primary))
        found.push(`${primary} was promoted and is not consistent: ${text}`)
    }
    if (!isForced && epoch > before.epoch && inSync.length < Math.min(before.inSync.length, config.minInSync)) {
      found.push(`the set fell below ${config.minInSync}: ${text}`)
    }
    for (const node of inSync) {
      if (!before.inSync.includes(node) && !isConsistent(node))
        found.push(`${node} joined and is not consistent: ${text}`)
    }
    if (epoch > before.epoch) this.byEpoch.set(epoch, config)
    this.last = config
    return found.map(violation)
  }

  /** A node has its store keep a promise; nothing may depend on it yet, and a crash may lose it. */
  promiseTold(node: string, epoch: number): Violation[] {
    const before = Math.max(this.told.get(node) ?? 0, this.kept.get(node) ?? 0)
    this.told.set(node, Math.max(before, epoch))
    return epoch < before ? [violation(`the promise of ${node} went from ${before} to ${epoch}`)] : []
  }

  /** Its store says that it is durable. */
  promiseKept(node: string, epoch: number): void {
    this.kept.set(node, Math.max(this.kept.get(node) ?? 0, epoch))
  }

  /**
   * A process of the node begins, with this promise in its store. Of a disk that lied the last one may be gone, and
   * nothing on it tells (SPEC section 1): that is no violation, only what comes of it would be.
   */
  promiseFound(node: string, epoch: number, isHonest: boolean): Violation[] {
    this.told.delete(node)
    const before = this.kept.get(node) ?? 0
    this.kept.set(node, isHonest ? Math.max(before, epoch) : epoch)
    if (epoch >= before || !isHonest) return []
    return [violation(`${node} came back with promise ${epoch}, and had kept ${before}`)]
  }

  /** A node says `promised`, or stores records, under this epoch. `durable` = its durable promise. */
  promiseUsed(node: string, epoch: number, durable: number): Violation[] {
    if (durable >= epoch) return []
    return [violation(`${node} answers under epoch ${epoch}, and its durable promise is ${durable}`)]
  }

  /** A node says that it refuses these sessions. */
  fenceUsed(node: string, fence: SessionFence, durable: SessionFence): Violation[] {
    // Of a generation that is over by the time the answer leaves nothing is kept.
    const last = durable.incarnations.at(-1)?.[0] ?? 0
    const isInForce = (generation: number): boolean =>
      generation > last || durable.incarnations.some(([named]) => named === generation)
    const incarnations = fence.incarnations.filter(([generation]) => isInForce(generation))
    if (covers(durable, { ...fence, incarnations })) return []
    return [violation(`${node} answers fence ${JSON.stringify(fence)}, and has durable ${JSON.stringify(durable)}`)]
  }

  /** A copy leads, reconciled, under this epoch. */
  active(epoch: number, at: number): void {
    if (epoch <= this.activeEpoch) return
    this.activeEpoch = epoch
    this.activeSince = at
  }

  /** A new copy of a node has promised nothing. */
  forget(node: string): void {
    this.kept.delete(node)
    this.told.delete(node)
  }

  /** `arrivedAt`: when the request came to that node. A read that came before the next one was active may be late. */
  served(
    node: string,
    epoch: number,
    what: { kind: 'read' | 'write' | 'flush'; arrivedAt: number },
  ): Violation[] {
    const found: string[] = []
    const config = this.byEpoch.get(epoch)
    if (config?.primary !== node) found.push(`${node} serves under epoch ${epoch} of ${config?.primary ?? 'nobody'}`)
    if (what.kind === 'read' && epoch < this.activeEpoch && this.activeSince < what.arrivedAt) {
      found.push(`${node} answers a read under epoch ${epoch} while ${this.activeEpoch} is active`)
    }
    return found.map(violation)
  }
}

const violation = (message: string): Violation => ({ checker: 'one-primary-per-epoch', message })

const describe = ({ epoch, primary, inSync }: VolumeConfig): string =>
  `epoch ${epoch}, primary ${primary}, set ${[...inSync].sort().join('+')}`
