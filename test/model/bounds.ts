/**
 * What bounds a search: how many copies, what the client does, how many faults of each kind. Everything else (delays,
 * order, how often something is tried) is unbounded: time only has the places that its comparisons can tell apart. Time
 * passes freely when nothing is under way; what takes longer than a timeout is a fault of its own.
 */
import type { CopyOptions } from '../../engine/replication/copy-port.ts'

export interface Bounds {
  copies: number
  /**
   * The one that the search begins in and those that may follow it: a change that leads beyond does not take place, and
   * in the last one nobody asks to join, which could only lead there.
   */
  epochs: number
  writes: number
  /** Different blocks that are written, in turn. */
  blocks: number
  /** After all writes are answered. */
  reads: number
  /** Ends of a process; in mode `durable` what is not synced may be lost, so of its machine too. */
  crashes: number
  losses: number
  duplicates: number
  /** Answers of the cluster store that do not come. */
  unknowns: number
  handOvers: number
  /** Reads of the cluster store that are answered later, not at once, with a value since they began. */
  lateReads: number
  /** Units of time that pass while something is under way: everything may take longer than any timeout. */
  earlyTimeouts: number
  /** Units of time in which a copy that has something to do stands still. */
  pauses: number
  /** Under way from one copy to another; what is sent beyond is lost. */
  linkMessages: number
  minInSync: number
  mode: CopyOptions['mode']
}

export const DEFAULT_BOUNDS: Bounds = {
  copies: 2,
  epochs: 2,
  writes: 2,
  blocks: 1,
  reads: 0,
  crashes: 1,
  losses: 1,
  duplicates: 1,
  unknowns: 0,
  handOvers: 0,
  lateReads: 0,
  earlyTimeouts: 0,
  pauses: 0,
  linkMessages: 2,
  minInSync: 1,
  mode: 'durable',
}

/** Time passes in steps of this; every timeout is a few of them. */
export const UNIT_MS = 1000
/** It is always now: what lies behind or ahead is moved instead. */
export const NOW_MS = 1_000_000

export const NODES = ['a', 'b', 'c', 'd'] as const

export const sayBounds = (bounds: Bounds): string =>
  Object.entries(bounds)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')
