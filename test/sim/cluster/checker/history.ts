/**
 * What checkers look at: operations as their clients saw them (start and end in one global order), and the committed
 * log as the copies applied it. Both are plain data, so that a test can write a bad history by hand.
 *
 * An era is a time in which committed records may not be lost. A forced promotion, or the loss of power of the whole
 * set of a `writeback` volume, ends one: the log goes on from `cutSeq`, and what was above it is excused.
 */
import type { ControlChange } from '../../../../engine/replication/record.ts'

export interface LoggedRecord {
  epoch: number
  seq: number
  kind: 'write' | 'zero' | 'trim' | 'control'
  lba: number
  blockCount: number
  /** Of a write: one a block. */
  stamps: readonly number[]
  /** `requestKey` of the operation, empty for control records. */
  request: string
  change: ControlChange | undefined
}

export interface ClientOperation {
  client: string
  /** The incarnation of its session; not of the operator's. */
  session?: number
  request: string
  kind: 'write' | 'zero' | 'trim' | 'read' | 'flush' | 'control'
  lba: number
  blockCount: number
  /** Written, or read; 0 = zeroes. */
  stamps: readonly number[]
  /** Positions in the one order of everything that happened. */
  start: number
  /** Infinity while it is not answered. */
  end: number
  /**
   * `ok`, an error code, or `none` while it is not answered. `again`: nobody heard of this request, and the operation
   * was answered by way of another one; so it may be in the log or not, but nowhere behind its end.
   */
  result: string
  /** Of a control operation that ended well. */
  seq: number
}

export interface Era {
  /** It began at this position. */
  from: number
  /** Records above this of the era before are gone. */
  cutSeq: number
  /** Index = seq - 1. */
  log: LoggedRecord[]
  /** Of a clone: what it began as. Its log has nothing but ids up to there. */
  base?: Base
}

/** What a volume shows behind `seq` before anybody has changed it. */
export interface Base {
  seq: number
  blocks: ReadonlyMap<number, Change>
}

export interface History {
  operations: ClientOperation[]
  eras: Era[]
  /** Requests whose answer was given before the era that lost them, and may come after. */
  lost?: ReadonlySet<string>
  /** Of a stamp that a narrow write made: what the rest of its block held. */
  bases?: ReadonlyMap<number, number>
}

export interface Violation {
  checker: string
  message: string
}

export const requestKey = (
  id: { generation: number; incarnation: number; request: number; part: number },
  client = '',
): string => `${client}${id.generation}.${id.incarnation}.${id.request}.${id.part}`

/** The value a block took at a seq. */
export interface Change {
  seq: number
  /** 0 = zeroes. */
  stamp: number
  kind: 'write' | 'zero' | 'trim' | 'rollback' | 'base'
}

export interface VolumeState {
  blocks: Map<number, Change>
  snapshots: Map<string, Map<number, Change>>
}

/** What each block was, seq by seq, and what all of it is in the end. */
export function replay(
  log: readonly LoggedRecord[],
  base?: Base,
): { changes: Map<number, Change[]>; state: VolumeState } {
  const changes = new Map<number, Change[]>([...(base?.blocks ?? [])].map(([lba, change]) => [lba, [change]]))
  const state: VolumeState = { blocks: new Map(base?.blocks), snapshots: new Map() }
  const set = (lba: number, change: Change) => {
    state.blocks.set(lba, change)
    const list = changes.get(lba)
    if (list === undefined) changes.set(lba, [change])
    else list.push(change)
  }
  for (const record of log) {
    const { seq, kind } = record
    if (kind !== 'control') {
      for (let i = 0; i < record.blockCount; i++) {
        set(record.lba + i, { seq, stamp: kind === 'write' ? record.stamps[i]! : 0, kind })
      }
      continue
    }
    const { change } = record
    if (change?.operation === 'snapshot') state.snapshots.set(change.id, new Map(state.blocks))
    if (change?.operation === 'snapshot-delete') state.snapshots.delete(change.id)
    if (change?.operation === 'rollback') {
      const to = state.snapshots.get(change.to)
      if (to === undefined) continue
      if (change.kept !== undefined) state.snapshots.set(change.kept.id, new Map(state.blocks))
      for (const [lba, now] of [...state.blocks]) {
        const then = to.get(lba)
        if (then?.seq !== now.seq) set(lba, { seq, stamp: then?.stamp ?? 0, kind: 'rollback' })
      }
    }
  }
  return { changes, state }
}

/** Starts and ends of operations in order. */
export function endpoints(
  operations: readonly ClientOperation[],
): Array<{ at: number; op: ClientOperation; isEnd: boolean }> {
  const points: Array<{ at: number; op: ClientOperation; isEnd: boolean }> = []
  for (const op of operations) {
    points.push({ at: op.start, op, isEnd: false })
    if (op.end !== Infinity) points.push({ at: op.end, op, isEnd: true })
  }
  return points.sort((a, b) => a.at - b.at)
}
