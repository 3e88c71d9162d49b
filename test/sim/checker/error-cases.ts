/**
 * C5: the n-th read, write or sync of a disk, or the n-th batch, get or range of its index, fails. For every n.
 */
import { Random } from '../random.ts'
import { SCRIPT } from './crash-cases.ts'
import { makeOperations, PLAIN } from './operations.ts'
import { StoreRun, type RunOptions } from './store-run.ts'

export const FAULTS = ['read', 'write', 'sync', 'batch', 'get', 'range'] as const
export type Fault = (typeof FAULTS)[number]

export interface ErrorCounts {
  runs: number
  /** Runs in which the n-th operation came. */
  hits: number
  failedDisks: number
  seconds: number
}

const OPTIONS: Omit<RunOptions, 'seed'> = {
  timeTravel: true,
  faults: true,
  fill: 0.12,
  volumesMax: 3,
  world: { disks: 2, segments: 12, segmentBytes: 64 * 1024, pagesMax: 2, checkpointBytes: 48 * 1024, pendingMax: 12 },
}

/** False when the run has no n-th operation of this kind. */
export function failOnce(fault: Fault, n: number, seed: number, counts: ErrorCounts): boolean {
  const startedMs = performance.now()
  const run = new StoreRun({ ...OPTIONS, seed })
  const disk = run.world.disks[0]!
  const index = run.world.indexes[0]!
  const before = fault === 'read' || fault === 'write' || fault === 'sync' ? disk.counts[fault] : index.counts[fault]
  if (fault === 'read' || fault === 'write' || fault === 'sync') disk.failAt(fault, n)
  else index.failAt(fault, n)
  // A sync that failed is not asked again: its answer could be a lie.
  const sync = disk.sync.bind(disk)
  let failed = false
  disk.sync = (done) => {
    if (failed) throw new Error('a sync after one that failed')
    sync((ok) => {
      failed ||= !ok
      done(ok)
    })
  }
  const calm = { ...PLAIN, kill: 0, cut: 0, stop: 0, shadow: 0, delete: 0, fsck: 0 }
  const random = new Random(`errors ${seed}`)
  try {
    run.runFaulty(
      [...SCRIPT.filter(({ kind }) => kind !== 'delete'), ...makeOperations(random, 40, calm)],
      random.pick(['all', 'synced']),
    )
  } catch (error) {
    throw new Error(`${fault} ${n} fails, seed ${seed}: ${(error as Error).message}`, { cause: error })
  } finally {
    counts.runs++
    counts.seconds += (performance.now() - startedMs) / 1000
    if (disk.hasFailed) counts.failedDisks++
  }
  const after = fault === 'read' || fault === 'write' || fault === 'sync' ? disk.counts[fault] : index.counts[fault]
  const isHit = after - before >= n
  if (isHit) counts.hits++
  return isHit
}
