/** How processes that stay begin: with small heaps, and with no compiler of theirs in memory. */
import { warmCompileCache, withCompileCache } from '../dataplane/compile-cache.ts'

/**
 * V8's for processes of ours that run for as long as a host does and have little to remember: what is young is small,
 * and the old generation, whose limit is far from what is used, grows by half between two collections and not fourfold.
 * Of a list of 1,000 volumes again and again 280 MiB stayed resident as it comes, 127 MiB so.
 */
export const MEMORY_FLAGS = ['--max-semi-space-size=2', '--max-old-space-size=256']

/** This process becomes itself once more, with the same pid. */
function begin(flags: readonly string[]): void {
  const { execArgv, execPath, argv, env } = process
  process.execve!(execPath, [execPath, ...execArgv, ...flags, ...argv.slice(1)], withCompileCache(env))
}

/** V8 reads them when it starts. What compiled itself until here does not have to again. */
export function takeMemoryFlags(): void {
  if (MEMORY_FLAGS.every((one) => process.execArgv.includes(one))) return
  warmCompileCache()
  begin(MEMORY_FLAGS)
}

/** Once after an upgrade: who stays has no compiler in its memory. A channel to a parent would not outlive it. */
export function leaveCompiler(): void {
  if (process.channel === undefined && warmCompileCache()) begin([])
}
