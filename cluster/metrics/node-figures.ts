/** Everything a scrape shows of a node: what its workers counted, and what the daemon knows of itself. */
import type { WorkerFigures } from './figures.ts'

export interface NodeFigures extends WorkerFigures {
  node: string
  version: string
  /** Of this daemon. */
  instance: string
  startedAtMs: number
  residentBytes: number
  cpuSeconds: number
  /** Undefined: the node is by itself. */
  isStoreReachable: boolean | undefined
  /** Undefined: it has none. */
  certificateExpiresAtMs: number | undefined
  /** Entries that the audit log lacks. */
  auditFailures: number
}
