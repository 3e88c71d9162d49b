/**
 * Fills an index and ends as by `kill -9`, as soon as the last batch is acknowledged: whatever LevelDB was doing in
 * the background is left half done, as it is when a daemon is killed. Run as `node level-index-writer.ts FOLDER`.
 */
import { openLevelIndex } from '../../../dataplane/disk/level-index.ts'
import type { IndexOperation } from '../../../engine/ports.ts'
import { CHECKPOINTS, ENTRIES, keyOf, META } from './level-index-content.ts'

const opening = await openLevelIndex(process.argv[2]!)
if (opening.kind !== 'open') throw new Error(JSON.stringify(opening))
for (let checkpoint = 0; checkpoint < CHECKPOINTS; checkpoint++) {
  const operations: IndexOperation[] = []
  for (let i = 0; i < ENTRIES; i++)
    operations.push({
      type: 'put',
      key: keyOf(checkpoint * ENTRIES + i),
      value: new Uint8Array(3000).fill(checkpoint),
    })
  operations.push({ type: 'put', key: META, value: Uint8Array.of(checkpoint) })
  const ok = await new Promise((resolve) => opening.index.batch(operations, resolve))
  if (ok !== true) throw new Error(`checkpoint ${checkpoint} was not written`)
}
process.kill(process.pid, 'SIGKILL')
