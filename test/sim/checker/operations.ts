/**
 * Operations of a random run as plain data: a kind and three numbers that mean something only to the state they meet.
 * So a list stays executable when any part of it is left out, which is all that shrinking needs.
 */
import type { Random } from '../random.ts'

export const OPERATION_KINDS = [
  'write',
  'trim',
  'zero',
  'read',
  'status',
  'flush',
  'settle',
  'pause',
  'checkpoint',
  'create',
  'resize',
  'delete',
  'stop',
  'kill',
  'cut',
  'fsck',
  'snapshot',
  'unsnapshot',
  'clone',
  'rollback',
  'view',
  'shadow',
  'clean',
  'undo',
] as const
export type OperationKind = (typeof OPERATION_KINDS)[number]

export interface Operation {
  kind: OperationKind
  x: number
  y: number
  z: number
  /** Turns of the clock behind it; requests of later operations overlap what is still under way. */
  turns: number
}

export type Weights = Partial<Record<OperationKind, number>>

export const PLAIN: Weights = {
  write: 55,
  trim: 8,
  zero: 6,
  read: 14,
  status: 2,
  flush: 3,
  settle: 2,
  pause: 0.5,
  checkpoint: 0.7,
  create: 0.3,
  resize: 0.4,
  delete: 0.2,
  stop: 0.3,
  kill: 0.5,
  cut: 1.2,
  fsck: 0.4,
  shadow: 1,
  clean: 0.5,
}
export const TIME_TRAVEL: Weights = {
  ...PLAIN,
  trim: 10,
  resize: 0,
  snapshot: 1.6,
  unsnapshot: 1.2,
  clone: 0.5,
  rollback: 0.9,
  view: 2.5,
  delete: 0.4,
}

/** Rolled back, looked at, and rolled back again: pages have older versions only, and are trimmed before a read. */
export const UNDOING: Weights = {
  ...TIME_TRAVEL,
  write: 30,
  trim: 12,
  zero: 12,
  read: 5,
  snapshot: 3,
  checkpoint: 2,
  rollback: 0.5,
  clone: 0.2,
  create: 1,
  undo: 4,
}

export function makeOperations(random: Random, count: number, weights: Weights): Operation[] {
  const table = Object.entries(weights) as Array<[OperationKind, number]>
  const total = table.reduce((sum, [, weight]) => sum + weight, 0)
  return Array.from({ length: count }, () => {
    let at = random.float() * total
    const [kind] = table.find(([, weight]) => (at -= weight) < 0) ?? table[0]!
    const turns = random.pick([0, 0, 0, 0, 1, 2, 3, 8, 30])
    return { kind, x: random.u32(), y: random.u32(), z: random.u32(), turns }
  })
}

/**
 * The shortest list found that still fails, by leaving out ever smaller parts (ddmin: Zeller and Hildebrandt, 2002).
 * @param fails  runs a list; the same failure is not asked for, any will do
 */
export function shrink(
  operations: Operation[],
  fails: (operations: Operation[]) => boolean,
  runsMax = 400,
): Operation[] {
  let best = operations
  let runs = 0
  for (let size = Math.ceil(best.length / 2); size >= 1 && runs < runsMax;) {
    let shorter = false
    for (let at = 0; at < best.length && runs < runsMax;) {
      const tried = [...best.slice(0, at), ...best.slice(at + size)]
      runs++
      if (fails(tried)) {
        best = tried
        shorter = true
      } else at += size
    }
    if (size === 1 && !shorter) break
    size = shorter && size > 1 ? size : Math.floor(size / 2)
  }
  return best
}

export const showOperations = (operations: Operation[]): string =>
  operations
    .map(({ kind, x, y, z, turns }) => `  { kind: '${kind}', x: ${x}, y: ${y}, z: ${z}, turns: ${turns} },`)
    .join('\n')
