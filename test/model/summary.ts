/** What the checks and the transitions ask of a copy, worked out once for each different copy. */
import { assertInvariants } from '../../engine/replication/copy.ts'
import { epochAt } from '../../engine/replication/record-id.ts'
import { NOW_MS } from './bounds.ts'
import type { LocalCopy } from './local-copy.ts'
import { contentOf, survivingDisk } from './model-store.ts'

export interface Summary {
  role: string
  isUp: boolean
  /** Of the term in which it leads, 0 = it does not. */
  leadsEpoch: number
  /** It would serve a read now without asking anybody. */
  readsFreely: boolean
  hasSession: boolean
  isOpening: boolean
  readsPending: number
  isTickDue: boolean
  configVersion: string | undefined
  isReading: boolean
  commitSeq: number
  tail: number
  /** The epoch of each seq, as far as the history of epochs says. */
  epochs: number[]
  appliedSeq: number
  /** Its map went on since the process began. */
  hasApplied: boolean
  /** The newest write of each block that is in the map. */
  applied: unknown[]
  /** What a block holds after the worst crash of the process, everything accepted applied. */
  durable: unknown[]
  isDurablyConsistent: boolean
  durablePromise: number
  isConsistent: boolean
  problem: string | undefined
}

export function summaryOf(copy: LocalCopy, blocks: number): Summary {
  const { memory, store } = copy
  const { live, disk } = store
  const surviving = survivingDisk(store)
  const primary = memory?.primary
  const lbas = Array.from({ length: blocks }, (_, lba) => lba)
  const tail = memory?.log.tail ?? live.tail
  const epochs = memory?.log.epochs ?? live.epochs
  return {
    role: memory?.role ?? 'down',
    isUp: memory !== undefined,
    leadsEpoch: memory?.role === 'primary' ? primary!.epoch : 0,
    readsFreely:
      memory?.role === 'primary' &&
      (primary!.required.length === 0 ||
        (memory.options.readCheck === 'lease' &&
          primary!.required.every((node) => primary!.peers.get(node)!.lease.untilMs > NOW_MS))),
    hasSession: (primary?.sessions.length ?? 0) > 0,
    isOpening: (primary?.openings.length ?? 0) > 0,
    readsPending: (primary?.waitingReads.length ?? 0) + (primary?.round?.reads.length ?? 0),
    isTickDue: memory !== undefined && memory.wakeAtMs <= NOW_MS,
    configVersion: memory?.config?.version,
    isReading: memory?.reading !== undefined,
    commitSeq: memory?.log.commitSeq ?? live.appliedSeq,
    tail,
    epochs: Array.from({ length: tail + 1 }, (_, seq) => epochAt(epochs, seq)),
    appliedSeq: live.appliedSeq,
    hasApplied: live.appliedSeq > disk.appliedSeq,
    applied: lbas.map((lba) => contentOf({ ...live, records: [] }, lba)),
    durable: lbas.map((lba) => contentOf(surviving, lba)),
    isDurablyConsistent: surviving.facts.consistency.state === 'consistent',
    durablePromise: disk.facts.promise.epoch,
    isConsistent: live.facts.consistency.state === 'consistent',
    problem: problemOf(copy),
  }
}

function problemOf({ memory, node }: LocalCopy): string | undefined {
  if (memory === undefined) return undefined
  if (memory.role === 'fenced' && memory.fencedBecause !== undefined)
    return `${node} is fenced: ${memory.fencedBecause}`
  try {
    assertInvariants(memory)
  } catch (error) {
    return (error as Error).message
  }
  return undefined
}
