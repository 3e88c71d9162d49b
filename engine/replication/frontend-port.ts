/**
 * The world as a frontend sees it (SPEC.md section 6): what it may ask (every call returns at once; what follows comes
 * back as an event of a later step), what may happen to it, and what it is told when it is made. A frontend is one
 * attachment of a volume on a node, whatever the number of its client connections.
 *
 * Times are milliseconds of this node's CLOCK_BOOTTIME.
 */
import type { NodeId } from './configuration.ts'
import type { VersionedConfig } from './copy-port.ts'
import type { FrontendMessage, FrontendResult } from './messages.ts'
import type { BlockVersion, Payload, Session } from './record.ts'
import type { ClientOperation } from './request-parts.ts'

export type FrontendEvent =
  /** `connection` and `tag` are the shell's: they come back in `answer` and `connection-closed`. */
  | { type: 'request'; connection: number; tag: number; operation: ClientOperation }
  | { type: 'connection-closed'; connection: number }
  | { type: 'message'; from: NodeId; message: FrontendMessage }
  /** A hint of the watch; may be old. */
  | { type: 'config-hint'; value: VersionedConfig }
  | { type: 'config-read'; token: number; value: VersionedConfig | undefined; ok: boolean }
  /** The volume is at least this large now. */
  | { type: 'resized'; sizeBytes: number }
  /** Another `io-timeout`, also of what is held: counted from when it came. 0: for ever. */
  | { type: 'timed'; ioTimeoutMs: number }
  | { type: 'tick' }

export interface FrontendPort {
  /** To the copy of this volume on a node. May be lost, repeated or reordered. */
  send(to: NodeId, message: FrontendMessage): void
  /** The end of a client's request. Of a read: the versions of its blocks; a block without one reads as zeroes. */
  answer(connection: number, tag: number, answer: ClientAnswer): void
  /** Linearizable. Later: `config-read` with this token; of several only the last one is awaited. */
  readConfig(token: number): void
  /** Step again with `tick` at about this time. Only the earliest counts, and a tick ends it: then it is asked anew. */
  wakeAt(atMs: number): void
  /** The blocks of a part of a write as they are stored: the client's bytes over the old edges. */
  compose(write: ComposedWrite): Payload
  /** That write was answered well: it is not sent again. Of one that failed nobody knows who may still have it. */
  composedEnded(payload: Payload): void
}

export interface ComposedWrite {
  /** As the client gave them; undefined = zeroes. */
  data: unknown
  /** `lengthBytes` of `data` from `fromBytes`, laid into the blocks `skipBytes` behind the start of the first. */
  fromBytes: number
  skipBytes: number
  lengthBytes: number
  lba: number
  blockCount: number
  /** Of the blocks covered in part: what they hold. One that is missing, or has no payload, holds zeroes. */
  old: readonly BlockVersion[]
}

export type ClientAnswer = { ok: true; versions: BlockVersion[] } | { ok: false; code: ClientFailure }

/** `timeout`: held for longer than `ioTimeoutMs`; it may still happen. */
export type ClientFailure = 'timeout' | Exclude<Extract<FrontendResult, { ok: false }>['code'], 'edge-changed'>

export interface FrontendOptions {
  session: Session
  mode: 'read' | 'write'
  /** How long a request is held before it fails; 0 = for ever. */
  ioTimeoutMs: number
  /** Silence after which a request is sent again and the primary looked for. */
  resendMs: number
  /** Between one attempt to find the primary and the next; grows up to `resendMs`. */
  retryMs: number
  /** Payload of a part. */
  partBytesMax: number
  /** No further request is forwarded from here on; one request may go beyond. */
  inFlightPartsMax: number
  inFlightBytesMax: number
}
