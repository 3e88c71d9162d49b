/** Risk: a peer that is slow makes the other end keep everything in memory, or is taken for a dead one. */
import t from 'tap'
import type { Delivery } from '../../../dataplane/peer/delivery.ts'
import type { WireMessage } from '../../../dataplane/peer/message-codec.ts'
import { PeerSocket } from '../../../dataplane/peer/peer-socket.ts'
import { WINDOW_BYTES } from '../../../dataplane/peer/protocol.ts'
import { blocks } from './any-message.ts'
import { RawPeer } from './raw-peer.ts'
import { pair, sync, until, VOLUME_ID, Worker } from './workers.ts'

const MIB = 1 << 20
const payload = blocks(256, 3)
const append = (seq: number): WireMessage => ({
  type: 'append', epoch: 1, previous: { epoch: 1, seq: seq - 1 }, commitSeq: 0,
  records: [{ epoch: 1, seq, request: undefined, kind: 'write', lba: seq * 256, blockCount: 256, payload }],
})

t.test('a receiver that is not done holds its window, its sender a bounded queue; both stay', async (t) => {
  const kept: Delivery[] = []
  const limits = { keepaliveMs: 20, silenceMs: 200, queuedBytesMax: 8 * MIB }
  const [a, b] = await pair(t, { a: { limits }, b: { limits, onMessage: (delivery) => kept.push(delivery) } })
  let sent = 0
  // All of it: until the window is used up and the queue is full.
  for (let idle = 0; idle < 50; idle++) {
    while (a.send(b, append(sent + 1)) === 'queued') {
      sent++
      idle = 0
    }
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  const held = kept.length * (MIB + 1200)
  t.ok(held <= WINDOW_BYTES && held > WINDOW_BYTES - 2 * MIB, `${kept.length} are held by the receiver`)
  t.ok(sent - kept.length <= 10, `${sent - kept.length} wait at the sender`)
  await new Promise((resolve) => setTimeout(resolve, 500))
  t.same([a.downs, b.downs], [[], []], 'slow is not dead')
  t.equal(a.drains, 0)

  // Its own messages still come, and so do beacons to it.
  b.send(a, sync(1))
  a.send(b, { type: 'beacon', number: 1, got: undefined, left: [], commits: [] })
  await until(() => a.got.length === 1 && kept.at(-1)!.family === 'link')

  let taken = 0
  let next = 1
  while (next <= sent) {
    await until(() => kept.length > 0)
    const delivery = kept.shift()!
    if (delivery.message.type === 'append') t.equal(delivery.message.records[0]!.seq, next++)
    delivery.release()
    taken++
  }
  t.equal(taken, sent + 1, 'all came, in order')
  await until(() => a.drains > 0)
  t.equal(a.send(b, append(sent + 1)), 'queued')
  await until(() => kept.length === 1)
})

t.test('messages that are released use the same memory again and again', async (t) => {
  let count = 0
  const [a, b] = await pair(t, {
    b: {
      onMessage: (delivery) => {
        count++
        delivery.release()
      },
    },
  })
  let acquired = 0
  const acquire = b.pool.acquire.bind(b.pool)
  b.pool.acquire = (bytes) => {
    const idleBytes = b.pool.idleBytes
    const slab = acquire(bytes)
    if (b.pool.idleBytes === idleBytes) acquired += slab.bytes.length
    return slab
  }
  for (let i = 1; i <= 200; i++) {
    a.send(b, append(i))
    if (i % 4 === 0) await until(() => count === i)
  }
  t.ok(acquired < 16 * MIB, `${acquired} bytes of memory for 200 MiB`)
})

t.test('a message larger than the window passes in pieces', async (t) => {
  const [a, b] = await pair(t)
  const records = Array.from({ length: 40 }, (_, i) => ({
    epoch: 1, seq: 1 + i, request: undefined, kind: 'write' as const, lba: i * 256, blockCount: 256, payload,
  }))
  const log: WireMessage = { type: 'log', epoch: 1, records }
  for (let i = 1; i <= 3; i++) {
    t.equal(a.send(b, log), 'queued')
    a.send(b, sync(i))
    await until(() => b.got.length === 2 * i)
  }
  t.same(b.got.map(({ message }) => message.type), ['log', 'sync', 'log', 'sync', 'log', 'sync'])
  t.equal((b.got[0]!.message as { records: unknown[] }).records.length, 40)
})

t.test('a peer that says it is there and reads nothing gets no more than its window', async (t) => {
  const b = await Worker.start(t, { node: 'n2', limits: { queuedBytesMax: 4 * MIB } })
  const raw = await RawPeer.meet(b.endpoint)
  raw.socket.write(raw.frame({}))
  await until(() => b.ups.length === 1)
  raw.socket.pause()
  let sent = 0
  for (let idle = 0; idle < 20; idle++) {
    while (b.transport.send({ node: 'n3', worker: 0 }, VOLUME_ID, append(sent + 1)) === 'queued') {
      sent++
      idle = 0
    }
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  t.ok(sent * MIB <= WINDOW_BYTES + 5 * MIB, `${sent} MiB were taken`)
  raw.socket.destroy()
  await until(() => b.transport.connections === 0)
})

t.test('what is sent in one turn leaves in one write', async (t) => {
  const [a, b] = await pair(t)
  const { writeNow } = PeerSocket.prototype
  const given: number[] = []
  PeerSocket.prototype.writeNow = function (this: PeerSocket, pieces) {
    given.push(pieces.length)
    return writeNow.call(this, pieces)
  }
  t.teardown(() => Object.assign(PeerSocket.prototype, { writeNow }))
  for (let i = 0; i < 100; i++) a.send(b, sync(i))
  await new Promise(setImmediate)
  t.same(given, [1], 'without blocks they are one piece')
  await until(() => b.got.length === 100)
  for (let i = 0; i < 3; i++) a.send(b, append(i + 1))
  await new Promise(setImmediate)
  t.same(given, [1, 6], 'with blocks they are gathered: three heads, three payloads')
  await until(() => b.got.length === 103)
  const firsts = b.got.slice(100).map(({ message }) => message.type === 'append' && message.records[0]!.seq)
  t.same(firsts, [1, 2, 3], 'also what the kernel did not take at once')
})

t.test('done twice counts once', async (t) => {
  const kept: Delivery[] = []
  const [a, b] = await pair(t, { b: { onMessage: (delivery) => kept.push(delivery) } })
  a.send(b, append(1))
  await until(() => kept.length === 1)
  for (let i = 0; i < 5; i++) {
    kept[0]!.done()
    kept[0]!.release()
  }
  for (let i = 2; i < 80; i++) {
    a.send(b, append(i))
    await until(() => kept.length === i)
    kept[i - 1]!.release()
  }
  t.same(a.events, [], 'nothing was consumed that was not sent')
})
