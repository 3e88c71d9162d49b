/**
 * A bug planted in the replication core: texts that are replaced in its sources while they are loaded, as
 * test/sim/mutants.ts does it.
 * Each names what it breaks: an invariant (I1...), a rule of the spec (W4, C3, L3...), a finding of the review of the
 * design before it was built (`design 5`), or several.
 */
import type { Edit } from '../../mutants.ts'

export interface PlantedBug extends Edit {
  name: string
  breaks: string
  also: readonly Edit[]
  /** A seed that finds it soon: the short form of the hunt begins there. */
  seed: number | undefined
  /** Why no seed can find it: the change changes nothing that the protocol promises. */
  harmless: string | undefined
}

type Change = [file: string, replace: string, by: string]

const edit = ([file, replace, by]: Change): Edit => ({ file: `engine/replication/${file}`, replace, by })

export function bug(
  name: string,
  breaks: string,
  changes: [Change, ...Change[]],
  more: { seed?: number; harmless?: string } = {},
): PlantedBug {
  const [first, ...rest] = changes
  return { name, breaks, ...edit(first), also: rest.map(edit), seed: more.seed, harmless: more.harmless }
}
