/**
 * A bug planted in the replication core, or in the store of its copies: texts that are replaced in the sources while
 * they are loaded, as test/sim/mutants.ts does it.
 * Each names what it breaks: an invariant (I1...), a rule of the spec (W4, C3, L3...), a finding of the review of the
 * design before it was built (`design 5`), or several.
 */
import type { Edit } from '../../mutants.ts'

export interface PlantedBug extends Edit {
  name: string
  breaks: string
  also: readonly Edit[]
  /** On which store the simulator meets it. */
  store: 'memory' | 'real'
  /** A seed that finds it soon: the short form of the hunt begins there. */
  seed: number | undefined
  /** Why no seed can find it: the change changes nothing that the protocol promises. */
  harmless: string | undefined
}

export type Change = [file: string, replace: string, by: string]
type More = { seed?: number; harmless?: string }

const plant = (
  folder: string,
  store: PlantedBug['store'],
  name: string,
  breaks: string,
  changes: readonly Change[],
  { seed, harmless }: More,
): PlantedBug => {
  const [first, ...also] = changes.map(([file, replace, by]): Edit => ({ file: `${folder}/${file}`, replace, by }))
  return { name, breaks, ...first!, also, store, seed, harmless }
}

/** In engine/replication. */
export function bug(name: string, breaks: string, changes: [Change, ...Change[]], more: More = {}): PlantedBug {
  return plant('engine/replication', 'memory', name, breaks, changes, more)
}

/** In engine/volume or engine/log: what keeps a copy. */
export function storeBug(name: string, breaks: string, changes: [Change, ...Change[]], more: More = {}): PlantedBug {
  return plant('engine', 'real', name, breaks, changes, more)
}
