/**
 * What a start leaves behind: text that was parsed, objects that nobody refers to, pages of a young generation that was
 * full once. V8 gives memory back when it collects all of a heap, and a process that has little to do from then on
 * does not allocate enough to get there.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

type Collect = (how: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void

/**
 * Collects the heap of this thread and gives its free pages back to the host. For the end of a start, before anybody is
 * served: the thread stands still meanwhile, 50 ms for 20 MiB.
 */
export function collectStart(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as Collect
  setFlagsFromString('--no-expose-gc')
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}
