/**
 * A process that stands still for sure. The signal alone does not say so: `kill` returns when it is noted, and the
 * threads that run, or are waked by something else first, go on until the kernel comes to them.
 */
import { readdirSync, readFileSync } from 'node:fs'

/** Stops a process, and looks until each thread of it is stopped: microseconds, or as long as others have the cores. */
export async function standStill(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  while (!isStill(pid)) await new Promise((resolve) => setImmediate(resolve))
}

/** The third word of a thread's `stat` is its state (proc(5)), behind its name, which may hold anything. */
const isStill = (pid: number): boolean => readdirSync(`/proc/${pid}/task`).every((thread) => {
  const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1')
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T')
})
