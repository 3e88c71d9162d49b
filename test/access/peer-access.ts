/**
 * Every message between data workers, by somebody who speaks the protocol well and may not: a connection is closed
 * before a frame is read, or the frame is refused under the name of the certificate.
 */
import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import fc from 'fast-check'
import type { Test } from 'tap'
import { askingPreface, decodePreface, directionSeed, encodePreface } from '../../dataplane/peer/preface.ts'
import type { Preface } from '../../dataplane/peer/preface.ts'
import { COPY_FRAME, FRONTEND_FRAME, LINK_FRAME, PEER_PROTOCOL } from '../../dataplane/peer/protocol.ts'
import type { WireMessage } from '../../dataplane/peer/message-codec.ts'
import { SlabPool } from '../../dataplane/slab-pool.ts'
import { TestCa } from '../cluster/tls/certificates.ts'
import { anyOf } from '../dataplane/peer/any-message.ts'
import { bytesOf } from '../dataplane/peer/wire.ts'
import { CLUSTER, Worker, hex, until } from '../dataplane/peer/workers.ts'
import { credentialsOf } from './credentials.ts'
import type { Shown } from './credentials.ts'
import type { Table } from './table.ts'

const PREFACE_BYTES = 224
/** A frame that is read is told within that; one that is refused ends its connection. */
const HEARD_MS = 2_000

export const MESSAGES = [LINK_FRAME, COPY_FRAME, FRONTEND_FRAME].flatMap((frames) => Object.keys(frames)) as
  Array<WireMessage['type']>

/** One who dials `to`. @returns whether that message was taken */
async function says(
  to: Worker, message: WireMessage, shown: Shown | undefined, self: Partial<Preface>,
): Promise<string> {
  const isUrgent = Object.hasOwn(LINK_FRAME, message.type)
  const from = { clusterId: CLUSTER, node: 'n3', instance: hex(), worker: 0, role: 'worker' as const }
  const asked = (): Preface => ({
    ...askingPreface(from, {
      node: 'n2', worker: 0, lane: isUrgent ? 'urgent' : 'data', nonce: hex(), windowBytes: 32 << 20,
    }),
    ...self,
  })
  const raw = net.connect(to.endpoint as { host: string; port: number })
  raw.on('error', () => undefined)
  await once(raw, 'connect')
  const prefaces = (socket: net.Socket): Promise<Preface | undefined> => {
    let got = Buffer.alloc(0)
    return new Promise((resolve) => {
      const onData = (bytes: Buffer): void => {
        got = Buffer.concat([got, bytes])
        if (got.length < PREFACE_BYTES) return
        socket.off('data', onData)
        const preface = decodePreface(got.subarray(0, PREFACE_BYTES))
        resolve(typeof preface === 'object' ? preface : undefined)
      }
      socket.on('data', onData).on('close', () => resolve(undefined)).on('end', () => resolve(undefined))
    })
  }
  try {
    let socket: net.Socket = raw
    let said = asked()
    if (shown !== undefined) {
      const answer = prefaces(raw)
      raw.write(encodePreface({ ...said, wantsTls: true }))
      if ((await answer)?.answer !== 'start-tls') return 'closed'
      const how = { ALPNProtocols: [PEER_PROTOCOL], checkServerIdentity: () => undefined }
      socket = tls.connect({ socket: raw, ...shown, ...how })
      socket.on('error', () => undefined)
      said = asked()
    }
    const answered = prefaces(socket)
    if (shown !== undefined) socket.once('secureConnect', () => socket.write(encodePreface(said)))
    else socket.write(encodePreface(said))
    const answer = await answered
    if (answer?.answer !== 'accepted') return 'closed'
    const before = to.got.length
    const seed = directionSeed(said, answer)
    socket.write(bytesOf([message], { seed, pool: new SlabPool(), version: answer.version }))
    const untilMs = performance.now() + HEARD_MS
    await until(() => to.got.length > before || socket.destroyed || socket.readableEnded || performance.now() > untilMs)
    return to.got.length > before ? 'yes' : socket.destroyed || socket.readableEnded ? 'closed' : 'not taken'
  } finally {
    raw.destroy()
  }
}

export async function askPeer(t: Test): Promise<Table> {
  const ca = new TestCa(t, CLUSTER)
  const start = (isMember: boolean) => Worker.start(t, {
    node: 'n2', tcp: true, tls: ca.folder({ role: 'node', name: 'n2' }),
    rules: { mayConnect: ({ node }) => (isMember && node === 'n3' ? undefined : 'is no node of this cluster') },
    limits: { unprovenMax: 1024 },
  })
  const [open, shut] = [await start(true), await start(false)]
  const { strangers, roles } = credentialsOf(t, ca, 'n3')
  const { node, ...users } = roles
  const cases: ReadonlyArray<[string, (message: WireMessage) => Promise<string[]>]> = [
    ['plain text; no good certificate', async (message) => {
      const words = [await says(open, message, undefined, {})]
      for (const shown of Object.values(strangers)) words.push(await says(open, message, shown, {}))
      return words
    }],
    ['users, store', async (message) => {
      const words: string[] = []
      for (const shown of Object.values(users)) words.push(await says(open, message, shown, {}))
      return words
    }],
    ['node that says it is another', async (message) => [await says(open, message, node, { node: 'n4' })]],
    ['node that was removed', async (message) => [await says(shut, message, node, {})]],
    ['supervisor of a node', async (message) => [await says(open, message, node, { role: 'supervisor' })]],
    ['node', async (message) => [await says(open, message, node, {})]],
  ]
  const rows = new Map<string, string[]>()
  for (const type of MESSAGES) {
    // The first one that can be said in a few bytes.
    const [message] = fc.sample(anyOf(type), { numRuns: 1, seed: 1 })
    const cells: string[] = []
    for (const [, ask] of cases) cells.push([...new Set(await ask(message!))].join(', '))
    rows.set(type, cells)
  }
  const words = 'Whether a node that is let in may say it of this volume, in this epoch, is judged for each frame '
    + 'behind that: `dataplane/peer/PROTOCOL.md` section 8.'
  return { title: 'Messages between data workers', words, what: 'message', columns: cases.map(([who]) => who), rows }
}
