/** What a transport is given by its owner: who it is, the world, the rules it asks, where it tells what happens. */
import type { TlsFolder } from '../../cluster/tls/tls-folder.ts'
import type { ClockPort, LogPort } from '../../engine/ports.ts'
import type { SlabPool } from '../slab-pool.ts'
import type { CloseReason } from './connection.ts'
import type { Delivery, PeerIdentity } from './delivery.ts'
import type { FrameRefusal, IncomingFrame } from './frame-intake.ts'
import type { PeerSelf } from './preface.ts'
import type { Lane } from './protocol.ts'

export const TRANSPORT_LIMITS = {
  /** Connect, preface and answer; and for the first frame after it. */
  handshakeMs: 2000,
  /** Something is sent at least so often. */
  keepaliveMs: 1000,
  /** Connections that are not proved yet, of all peers together: each has half a megabyte of buffers. */
  unprovenMax: 64,
  /** Who says nothing for so long is gone. */
  silenceMs: 2000,
  retryMs: 50,
  retryMaxMs: 2000,
  /** Of one connection: what waits for its window and its socket. */
  queuedBytesMax: 64 << 20,
  refusalsEveryMs: 10_000,
}

/** What the transport asks before it lets somebody in or takes a body, and of who is in when peers change. */
export interface PeerRules {
  /** @returns why that node or worker has no business here */
  mayConnect(peer: PeerIdentity): string | undefined
  /** The volume known, the sender a member of it. @returns what to do with a frame that is not to be delivered */
  mayReceive(peer: PeerIdentity, frame: IncomingFrame): FrameRefusal | undefined
}

export interface TransportOptions {
  self: PeerSelf
  /** Unset: peers talk in plain text. */
  tls?: TlsFolder | undefined
  clock: ClockPort
  log: LogPort
  pool: SlabPool
  rules: PeerRules
  /** 0 <= x < 1 */
  random(): number
  /** 32 hex digits nobody can guess. */
  nonce(): string
  /** Runs in the turn in which the message arrived; `delivery.done()` opens the window again. */
  onMessage(delivery: Delivery): void
  onUp?(peer: PeerIdentity, lane: Lane): void
  onDown?(peer: PeerIdentity, lane: Lane, reason: CloseReason): void
  /** `send` answered 'full' and would not any more. */
  onDrained?(peer: PeerIdentity, lane: Lane): void
  limits?: Partial<typeof TRANSPORT_LIMITS>
}
