/** A kind of fault: which row of the fault matrix it belongs to, and how it is done to a cluster under load. */
import type { Random } from '../sim/random.ts'
import type { Scene } from './scene.ts'

/** A row of the fault matrix (docs/proof.md names them), what an operator does, or snapshots and clones. */
export type Row = number | 'plan' | 'snapshots'

/** A long run does each row so often. */
export const ROW_LEAST = 5

export interface Fault {
  row: Row
  name: string
  /**
   * `path`: between processes. `process`: of processes. `media`: of what a node keeps, always the same node, and only
   * while every copy is in its set: the others have every block whole. `plan`: what an operator does.
   */
  kind: 'path' | 'process' | 'media' | 'plan'
  /** Why it cannot be done here; undefined: it can. */
  missing?(scene: Scene): string | undefined
  /** Does it and undoes it. @returns words about what was done; undefined: there was no occasion, it does not count */
  run(scene: Scene, random: Random): Promise<string | undefined>
}
