/**
 * I22: after faults have stopped and everything runs again, every request is answered and the volume becomes whole
 * within the time given. Looked at once, at the end of the heal phase.
 */
import type { VolumeConfig } from '../../../../engine/replication/configuration.ts'
import type { ClientOperation, Violation } from './history.ts'

export interface Quiet {
  healMs: number
  /** Without an answer since before the heal phase ended. */
  unanswered: readonly ClientOperation[]
  config: VolumeConfig
  /** Nodes that ought to be in the in-sync set by now. */
  healthy: readonly string[]
  /** How the copies see themselves. */
  roles: ReadonlyMap<string, string>
}

export function checkProgress({ healMs, unanswered, config, healthy, roles }: Quiet): Violation[] {
  const violations: Violation[] = []
  const bad = (message: string) => void violations.push({ checker: 'progress', message })
  const copies = [...roles].map(([node, role]) => `${node} ${role}`).join(', ')
  if (unanswered.length > 0) {
    const { kind, request, client } = unanswered[0]!
    const what = `${unanswered.length} requests without an answer ${healMs} ms after the last fault`
    bad(`${what}, e.g. ${kind} ${request} by ${client} (${copies})`)
  }
  const missing = healthy.filter((node) => !config.inSync.includes(node))
  if (missing.length > 0) {
    bad(
      `${missing.join(', ')} not in the in-sync set ${healMs} ms after the last fault: epoch ${config.epoch}, ` +
        `primary ${config.primary}, set ${config.inSync.join('+')} (${copies})`,
    )
  }
  return violations
}
