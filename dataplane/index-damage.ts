/**
 * Marks beside an index folder that say what to do at the next start. LevelDB maps its tables, so a damaged file or a
 * failing medium below it may end the process by a signal instead of an error; a mark breaks that circle.
 *
 *   SIGBUS, SIGSEGV   what was mapped is gone, or a length in it is wrong: `.damaged`, discard it
 *   SIGABRT           an assertion of LevelDB, for example keys out of order met by a compaction, which verifies no
 *                     checksum; but V8 out of memory as well, and a rebuild takes time: `.suspected`, verify the
 *                     checksums of its tables; at the second in a row `.damaged`
 */
import fs from 'node:fs'
import path from 'node:path'
import { SETTLED_MS } from './restart-backoff.ts'

/** `damaged`: it is rebuilt from the log. `suspected`: so it is when a block of a table is not what was written. */
export type Suspicion = 'suspected' | 'damaged'

export const markOf = (folder: string, suspicion: Suspicion): string => `${folder}.${suspicion}`

/** Mark every index below `indexDir` (`<disk uuid>/<stream>`). */
export function markAll(indexDir: string, suspicion: Suspicion): void {
  if (!fs.existsSync(indexDir)) return
  for (const disk of fs.readdirSync(indexDir)) {
    const folder = path.join(indexDir, disk)
    for (const stream of fs.readdirSync(folder))
      if (/^\d+$/.test(stream)) fs.writeFileSync(markOf(path.join(folder, stream), suspicion), '')
  }
}

/** What the end of a daemon says about its indexes. One for the life of a supervisor. */
export class IndexSuspicion {
  #abortsInRow = 0

  /** @param ranMs how long the daemon that just ended had run */
  after(signal: NodeJS.Signals | null, ranMs: number): Suspicion | undefined {
    const hadSettled = ranMs >= SETTLED_MS
    this.#abortsInRow = signal === 'SIGABRT' ? (hadSettled ? 1 : this.#abortsInRow + 1) : 0
    if (signal === 'SIGBUS' || signal === 'SIGSEGV') return 'damaged'
    if (this.#abortsInRow < 2) return signal === 'SIGABRT' ? 'suspected' : undefined
    // Indexes made anew get the same patience.
    this.#abortsInRow = 0
    return 'damaged'
  }
}
