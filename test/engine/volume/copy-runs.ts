/** Runs of a copy against its model (`test/sim/copy-run.ts`), several seeds at a time. */
import type { Test } from 'tap'
import { runCopy, type CopyRunOptions } from '../../sim/copy-run.ts'

export function runs(t: Test, from: number, count: number, options: Omit<CopyRunOptions, 'seed'>): void {
  const sums: Record<string, number> = {}
  const failures: string[] = []
  for (let seed = from; seed < from + count; seed++) {
    const { failure, counts } = runCopy({ seed, ...options })
    for (const [name, value] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + value
    if (failure !== undefined) failures.push(failure)
  }
  t.same(failures, [], 'no run fails')
  t.comment(JSON.stringify(sums))
}
