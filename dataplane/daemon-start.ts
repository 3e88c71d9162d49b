/**
 * What the supervisor and its daemon tell each other: the start order down, readiness up (over Node's IPC channel),
 * and the reason of an end as the exit code.
 */
import type { NodeConfig, TcpAddress } from './node-config.ts'
import type { PeerAddress } from './peer/transport.ts'

export interface StartOrder {
  kind: 'start'
  config: NodeConfig
  ioFlusher: 'set' | 'refused'
  /** Whom the daemon must not outlive. */
  supervisorPid: number
}

/** Sent by the daemon when it serves; the supervisor passes it on to whoever started it with a channel. */
export interface Ready {
  kind: 'ready'
  pid: number
  apiSocket: string
  nbdSocket: string
  tcp: TcpAddress | undefined
  metrics: TcpAddress | undefined
}

/** Of a node of a cluster, whenever they change: whom the supervisor tells when it has reaped this daemon. */
export interface PeersNow {
  kind: 'peers'
  clusterId: string
  /** Of this daemon. */
  instance: string
  peers: PeerAddress[]
}

/** Sent before it serves, when it cannot go on for now; the supervisor passes it on as `Ready`. */
export interface Waits {
  kind: 'waits'
  sentence: string
}

export type FromDaemon = Ready | PeersNow | Waits

/** How a daemon ends. Any other code, or a signal, is a crash and the daemon is started again. */
export const EXIT = {
  CLEAN: 0,
  /** A bug: an uncaught exception of a thread, or a failed assert. */
  BUG: 70,
  /** The world refused for now (a busy port or disk); the sentence went to stderr. */
  REFUSED_FOR_NOW: 75,
  /** The configuration cannot work; the sentence went to stderr. */
  REFUSED: 78,
} as const

/** From the first SIGTERM to the end that no longer waits; the store is crash-safe at any moment. */
export const STOP_DEADLINE_MS = 10_000
