/**
 * What a start leaves behind: text that was parsed, objects that nobody refers to, pages of a young generation that was
 * full once. V8 gives memory back when it collects all of a heap, and a process that has little to do from then on
 * does not allocate enough to get there.
 *
 * Whoever has several threads is started with `--expose-gc` (a daemon, `dataplane/daemon-memory.ts`): flags of V8 are
 * those of the process, and a thread that takes one back would take it from another one that starts.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isMainThread } from 'node:worker_threads'

type Collect = (how: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void

/**
 * Collects the heap of this thread and gives its free pages back to the host. For the end of a start, and of whoever
 * serves I/O before he does: the thread stands still meanwhile, 50 ms for 20 MiB. A thread beside the main one keeps
 * its garbage in a process that was started without `--expose-gc`.
 */
export function collectStart(): void {
  const collect = (globalThis.gc as Collect | undefined) ?? (isMainThread ? ofMainThread() : undefined)
  collect?.({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}

function ofMainThread(): Collect {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as Collect
  setFlagsFromString('--no-expose-gc')
  return collect
}
