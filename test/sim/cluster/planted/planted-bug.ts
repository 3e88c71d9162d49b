/**
 * A bug planted in the replication core, or in the store of its copies: texts that are replaced in the sources while
 * they are loaded, as test/sim/mutants.ts does it.
 * Each names what it breaks: an invariant (I1...), a rule of the spec (W4, C3, L3...), a finding of the review of the
 * design before it was built (`design 5`), or several.
 */
import type { Edit } from '../../mutants.ts'
import type { Swarm } from '../swarm.ts'

/**
 * Of seeds: all from 1 on; those that make clones (clone-focus.ts); those that read snapshots (snapshot-users.ts); or
 * none.
 */
export type Among = 'counted' | 'clones' | 'readers' | 'none'

/** The n-th of them. */
export const seedAmong = (among: Exclude<Among, 'none'>, n: number): number =>
  among === 'counted' ? n : among === 'clones' ? 10_001 + 10 * (n - 1) : 10_003 + 5 * (n - 1)

export interface PlantedBug extends Edit {
  name: string
  breaks: string
  also: readonly Edit[]
  /** On which store the simulator meets it. */
  store: 'memory' | 'real'
  /** Which seeds are hunted: the counted ones, as many of those above them that have clones, or readers, or none. */
  among: Among
  /** For what no seed has met: a test file that passes without it, and fails with it. */
  caughtBy: string | undefined
  /**
   * Which seeds look at its mechanism, judged by what they drew alone: they are hunted first. It says nothing of what a
   * seed does, and the others are hunted after them.
   */
  looksAt: ((swarm: Swarm) => boolean) | undefined
  /** Why no seed can find it: the change changes nothing that the protocol promises. */
  harmless: string | undefined
}

export type Change = [file: string, replace: string, by: string]
type More = { looksAt?: PlantedBug['looksAt']; harmless?: string; among?: Among; caughtBy?: string }

/** Seeds with one of these foci (focus.ts). */
export const focusOn =
  (...foci: string[]) =>
  ({ focus }: Swarm): boolean =>
    foci.includes(focus)

const plant = (
  folder: string,
  store: PlantedBug['store'],
  name: string,
  breaks: string,
  changes: readonly Change[],
  { looksAt, harmless, among = 'counted', caughtBy }: More,
): PlantedBug => {
  const [first, ...also] = changes.map(([file, replace, by]): Edit => ({ file: `${folder}/${file}`, replace, by }))
  return { name, breaks, ...first!, also, store, among, caughtBy, looksAt, harmless }
}

/** In engine/replication. */
export function bug(name: string, breaks: string, changes: [Change, ...Change[]], more: More = {}): PlantedBug {
  return plant('engine/replication', 'memory', name, breaks, changes, more)
}

/** In what keeps a copy, found where clones are made. */
export function cloneBug(name: string, breaks: string, changes: [Change, ...Change[]], more: More = {}): PlantedBug {
  return plant('engine', 'real', name, breaks, changes, { ...more, among: 'clones' })
}

/** Of what snapshots show, found where they are read. */
export function readerBug(name: string, breaks: string, changes: [Change, ...Change[]]): PlantedBug {
  return plant('engine', 'real', name, breaks, changes, { among: 'readers' })
}

/** Anywhere in the engine: a test file fails with it. */
export function testBug(name: string, breaks: string, caughtBy: string, changes: [Change, ...Change[]]): PlantedBug {
  return plant('engine', 'real', name, breaks, changes, { among: 'none', caughtBy })
}

/** In engine/volume or engine/log: what keeps a copy. */
export function storeBug(name: string, breaks: string, changes: [Change, ...Change[]], more: More = {}): PlantedBug {
  return plant('engine', 'real', name, breaks, changes, more)
}
