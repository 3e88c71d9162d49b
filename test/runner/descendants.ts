/**
 * The processes that a test file started, found even when they detached themselves, got another parent or another
 * session: each inherits an environment variable with an id that only this run of this file has.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export const RUN_VARIABLE = 'HOLDFAST_TEST_RUN'

export interface Descendant {
  pid: number
  command: string
}

/** Living processes (no zombies) whose environment carries the id. */
export function findDescendants(runId: string): Descendant[] {
  const wanted = `${RUN_VARIABLE}=${runId}`
  const found: Descendant[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      if (!readFileSync(`/proc/${name}/environ`, 'latin1').split('\0').includes(wanted)) continue
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').join(' ').trim()
      found.push({ pid: Number(name), command: words || readlinkSync(`/proc/${name}/exe`) })
    } catch {
      // It ended while we looked, or is another user's: neither is ours to report.
    }
  }
  return found
}

/** Those still there after `graceMs`, which a child that is just ending is given. */
export async function leftBehind(runId: string, graceMs: number): Promise<Descendant[]> {
  const deadlineMs = performance.now() + graceMs
  for (;;) {
    const found = findDescendants(runId)
    if (found.length === 0 || performance.now() >= deadlineMs) return found
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export function killDescendants(runId: string): void {
  // Twice: a process may have been forking while the list was made.
  for (let round = 0; round < 2; round++) {
    for (const { pid } of findDescendants(runId)) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // Ended by itself.
      }
    }
  }
}
