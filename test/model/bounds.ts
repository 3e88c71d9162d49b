/**
 * What bounds a search: how many copies, what the client does, how many faults of each kind. Everything else (delays,
 * order, how often something is tried) is unbounded: time only has the places that its comparisons can tell apart.
 */
import type { CopyOptions } from '../../engine/replication/copy-port.ts'

export interface Bounds {
  copies: number
  /** Changes of the configuration that lead to a higher epoch do not take place. The first one is 1. */
  epochs: number
  writes: number
  /** Different blocks that are written, in turn. */
  blocks: number
  reads: number
  crashes: number
  losses: number
  duplicates: number
  /** Answers of the cluster store that do not come. */
  unknowns: number
  handOvers: number
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
  reads: 1,
  crashes: 1,
  losses: 1,
  duplicates: 1,
  unknowns: 0,
  handOvers: 0,
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
