/**
 * What a supervisor says to peers when it reaped its daemon: that instance has ended, so no grace is owed to it (SPEC
 * L5). It has no data path: each report is a connection of its own, which ends when the peer has heard it.
 */
import { randomBytes } from 'node:crypto'
import type { TlsFolder } from '../../cluster/tls/tls-folder.ts'
import type { ClockPort } from '../../engine/ports.ts'
import { SlabPool } from '../slab-pool.ts'
import { Connection } from './connection.ts'
import { dial } from './dial.ts'
import { endpointName } from './peer-socket.ts'
import type { PeerEndpoint } from './peer-socket.ts'
import { askingPreface, NONCE_BYTES } from './preface.ts'
import type { PeerSelf } from './preface.ts'
import { WINDOW_BYTES } from './protocol.ts'

export interface EndedReport {
  /** Of the supervisor; `role` is `supervisor`, `instance` its own. */
  self: PeerSelf
  to: { node: string; worker: number; endpoint: PeerEndpoint }
  /** Undefined: in plain text. */
  tls?: TlsFolder | undefined
  /** Of the daemon that was reaped. */
  ended: string
  clock: ClockPort
  deadlineMs: number
}

/** @returns whether the peer has heard it; it may have when not */
export function reportEnded({ self, to, tls, ended, clock, deadlineMs }: EndedReport): Promise<boolean> {
  const nonce = randomBytes(NONCE_BYTES).toString('hex')
  const preface = askingPreface(self, { ...to, lane: 'urgent', nonce, windowBytes: WINDOW_BYTES })
  return new Promise((resolve) => {
    dial({
      endpoint: to.endpoint,
      preface,
      clock,
      deadlineMs,
      tls,
      failed: () => resolve(false),
      answered(peer, answer) {
        const connection = new Connection({
          socket: peer,
          own: preface,
          peer: answer,
          address: endpointName(to.endpoint),
          version: answer.version,
          pool: new SlabPool(),
          clock,
          queuedBytesMax: 1 << 20,
          owner: {
            admit: (_, { type }) =>
              type === 'ended-heard' ? undefined : { action: 'skip', why: 'a supervisor hears answers only' },
            proven: () => undefined,
            drained: () => undefined,
            unsayable: () => undefined,
            closed() {
              deadline.cancel()
              resolve(false)
            },
            deliver(connection, { message }) {
              if (message.type !== 'ended-heard' || message.instance !== ended) return
              resolve(true)
              connection.drain()
            },
          },
        })
        peer.reader = connection
        const deadline = clock.after(deadlineMs, () => connection.close('silent', 'not heard in time'))
        connection.send(undefined, { type: 'ended', instance: ended })
      },
    })
  })
}
