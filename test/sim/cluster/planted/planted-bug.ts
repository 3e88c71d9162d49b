/**
 * A bug planted in the replication core, or in the store of its copies: texts that are replaced in the sources while
 * they are loaded, as test/sim/mutants.ts does it.
 * Each names what it breaks: an invariant (I1...), a rule of the spec (W4, C3, L3...), a finding of the review of the
 * design before it was built (`design 5`), or several.
 */
import type { Edit } from '../../mutants.ts'
import type { Swarm } from '../swarm.ts'

export interface PlantedBug extends Edit {
  name: string
  breaks: string
  also: readonly Edit[]
  /** On which store the simulator meets it. */
  store: 'memory' | 'real'
  /** It is met where clones are made (clone-focus.ts), above the counted seeds: so many of those are hunted. */
  isOfClones: boolean
  /** No seed meets it: a test file that passes without it, and fails with it. */
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
type More = { looksAt?: PlantedBug['looksAt']; harmless?: string; isOfClones?: boolean; caughtBy?: string }

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
  { looksAt, harmless, isOfClones = false, caughtBy }: More,
): PlantedBug => {
  const [first, ...also] = changes.map(([file, replace, by]): Edit => ({ file: `${folder}/${file}`, replace, by }))
  return { name, breaks, ...first!, also, store, isOfClones, caughtBy, looksAt, harmless }
}

/** In engine/replication. */
export function bug(name: string, breaks: string, changes: [Change, ...Change[]], more: More = {}): PlantedBug {
  return plant('engine/replication', 'memory', name, breaks, changes, more)
}

/** In what keeps a copy, found where clones are made. */
export function cloneBug(name: string, breaks: string, changes: [Change, ...Change[]], more: More = {}): PlantedBug {
  return plant('engine', 'real', name, breaks, changes, { ...more, isOfClones: true })
}

/** Anywhere in the engine: a test file fails with it. */
export function testBug(name: string, breaks: string, caughtBy: string, changes: [Change, ...Change[]]): PlantedBug {
  return plant('engine', 'real', name, breaks, changes, { caughtBy })
}

/** In engine/volume or engine/log: what keeps a copy. */
export function storeBug(name: string, breaks: string, changes: [Change, ...Change[]], more: More = {}): PlantedBug {
  return plant('engine', 'real', name, breaks, changes, more)
}
