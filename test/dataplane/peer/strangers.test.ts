/**
 * Risk: who is no peer, or a peer that goes wrong, gets something stored, memory allocated or others disturbed (row 27
 * of the fault matrix).
 */
import net from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import type { FrameRefusal, IncomingFrame } from '../../../dataplane/peer/frame-intake.ts'
import { COPY_FRAME, LANE_FRAME, LINK_FRAME, VERSION_GREATEST } from '../../../dataplane/peer/protocol.ts'
import { encodeValue } from '../../../dataplane/peer/control-value.ts'
import { blocks } from './any-message.ts'
import { RawPeer } from './raw-peer.ts'
import { VOLUME } from './wire.ts'
import { hex, pair, sync, until, VOLUME_ID } from './workers.ts'
import type { Worker, WorkerOptions } from './workers.ts'

/** n2 is asked by strangers, while n1 is its peer and must not notice. */
async function asked(t: Test, b: Partial<WorkerOptions> = {}): Promise<Worker> {
  const [n1, n2] = await pair(t, { b, tcp: true })
  t.teardown(() => {
    if (n1.downs.length > 0 || n2.got.length > 0) throw new Error(`somebody noticed: ${n1.downs.join()}`)
  })
  return n2
}

const reasons = (worker: Worker): string => worker.events.map(({ fields }) => fields.reason).join(' | ')

t.test('what is no preface', async (t) => {
  const b = await asked(t)
  const http = Buffer.from(`GET / HTTP/1.1\r\nHost: n2\r\n${'a: b\r\n'.repeat(40)}`)
  for (const bytes of [http, Buffer.alloc(224, 'x'), Buffer.alloc(60_000, 1)]) {
    const raw = new RawPeer(b.endpoint)
    raw.socket.write(bytes)
    await raw.ended()
  }
  t.match(reasons(b), /wrong magic/)
  t.match(reasons(b), /more than a preface/)
  await until(() => b.listener.arriving === 0)
})

t.test('prefaces that are refused, with the reason for both logs', async (t) => {
  const refusesN9 = { mayConnect: ({ node }: { node: string }) => (node === 'n9' ? 'n9 is no member' : undefined) }
  const b = await asked(t, { rules: refusesN9 })
  const cases = [
    [{ clusterId: 'ff'.repeat(16) }, 'cluster', /another cluster/],
    [{ node: 'n2' }, 'self', /says that it is this node/],
    [{ toNode: 'n4' }, 'not-me', /asks for another node/],
    [{ toWorker: 3 }, 'not-me', /asks for another node/],
    [{ toInstance: hex() }, 'not-me', /asks for another node/],
    [{ versionLeast: 200, versionGreatest: 209 }, 'version', /no version that we do/],
    [{ node: 'n9' }, 'unknown', /n9 is no member/],
    [{ windowBytes: 1000 }, 'unknown', /window is smaller/],
    [{ role: 'supervisor' as const }, 'unknown', /supervisor has no data/],
  ] as const
  for (const [wrong, answer, words] of cases) {
    const raw = await RawPeer.meet(b.endpoint, wrong)
    t.equal(raw.answer?.answer, answer)
    await raw.ended()
    t.match(reasons(b), words)
  }
  const last = b.events.at(-1)!
  t.match(last.fields, { peer: 'n3', address: /127.0.0.1:\d+/, reason: /./ })
  const newer = await RawPeer.meet(b.endpoint, { versionGreatest: 200 })
  t.equal(newer.answer?.version, VERSION_GREATEST, 'a newer one that still speaks ours is served')
  newer.socket.destroy()
  const answered = await RawPeer.meet(b.endpoint, { answer: 'accepted' })
  await answered.ended()
  t.match(reasons(b), /an answer to nothing/)
})

t.test('who says nothing, before or behind his preface, does not stay', async (t) => {
  const [, b] = await pair(t, { b: { limits: { handshakeMs: 100, keepaliveMs: 20 } } })
  const silent = await RawPeer.meet(b.endpoint)
  t.equal(silent.answer?.answer, 'accepted')
  t.equal(b.transport.connections, 3)
  await silent.ended()
  const half = new RawPeer(b.endpoint)
  half.socket.write(Buffer.alloc(100))
  await half.ended()
  t.match(reasons(b), /no preface in time/)
  t.equal(b.transport.connections, 2)
})

t.test('however many say a good preface and nothing more, few are kept', async (t) => {
  const [, b] = await pair(t, { b: { limits: { unprovenMax: 5, handshakeMs: 500 } } })
  const answers: Array<string | undefined> = []
  const raws: RawPeer[] = []
  for (let i = 0; i < 20; i++) {
    const raw = await RawPeer.meet(b.endpoint, { node: `m${i}` })
    raws.push(raw)
    answers.push(raw.answer?.answer)
  }
  t.same(answers, [...Array<string>(5).fill('accepted'), ...Array<string>(15).fill('unknown')])
  t.match(reasons(b), /too many at once/)
  for (const raw of raws) await raw.ended()
  t.equal(b.transport.connections, 2)
  const supervisors = await Promise.all([1, 2, 3].map(async () => {
    const raw = await RawPeer.meet(b.endpoint, { node: 'm1', role: 'supervisor', lane: 'urgent' })
    raw.socket.write(raw.frame({}))
    return raw
  }))
  await until(() => supervisors.filter(({ isClosed }) => !isClosed).length === 1)
  t.equal(b.transport.connections, 3, 'one supervisor a node')
  for (const raw of supervisors) raw.socket.destroy()
})

t.test('headers that are sealed well and say what they must not', async (t) => {
  const b = await asked(t)
  let largest = 0
  const acquire = b.pool.acquire.bind(b.pool)
  b.pool.acquire = (bytes) => {
    largest = Math.max(largest, bytes)
    return acquire(bytes)
  }
  const huge = 0xffff_ffff
  const cases = [
    [{ type: COPY_FRAME.append, volume: VOLUME, controlBytes: huge }, /control part is too large/],
    [{ type: COPY_FRAME.append, volume: VOLUME, payloadBytes: huge }, /payload is too large/],
    [{ type: COPY_FRAME.append, volume: VOLUME, payloadBytes: (8 << 20) + 1 }, /payload is too large/],
    [{ type: COPY_FRAME.sync, volume: VOLUME, payloadBytes: 1 }, /payload is too large/],
    [{ type: 77, volume: VOLUME }, /unknown type/],
    [{ type: LINK_FRAME.beacon }, /other lane/],
    [{ type: COPY_FRAME.sync, volume: VOLUME, flags: 1 }, /unknown flags/],
    [{ type: COPY_FRAME.log, volume: VOLUME, flags: 2 }, /unknown flags/],
    [{ type: COPY_FRAME.sync }, /no volume/],
    [{ type: LANE_FRAME.alive, volume: VOLUME }, /lane has no content/],
    [{ number: 5 }, /missing or repeated/],
    [{ consumedBytes: 1 }, /consumed what was not sent/],
  ] as const
  for (const [fields, words] of cases) {
    const raw = await RawPeer.meet(b.endpoint)
    raw.socket.write(raw.frame(fields))
    await raw.ended()
    t.match(reasons(b), words)
  }
  t.ok(largest <= 256 * 1024, `nothing larger than a slab was asked for: ${largest}`)
})

t.test('frames that do not parse', async (t) => {
  const b = await asked(t)
  const body = (value: unknown): Buffer => Buffer.from(encodeValue(value))
  const cases = [
    [COPY_FRAME.sync, Buffer.from([0xc1])],
    [COPY_FRAME.sync, Buffer.alloc(0)],
    [COPY_FRAME.sync, body({ seq: -1 })],
    [COPY_FRAME.sync, body({ seq: 2 ** 48 })],
    [COPY_FRAME.sync, body({ seq: 1, more: 1 })],
    [COPY_FRAME.sync, body({ seq: 1.5 })],
    [COPY_FRAME.sync, body([1])],
    [COPY_FRAME['new-epoch'], body({ config: {} })],
    [COPY_FRAME.stored, Buffer.alloc(27)],
    [COPY_FRAME.append, Buffer.alloc(28, 0xff)],
    [COPY_FRAME.fill, Buffer.alloc(24, 0xff)],
  ] as const
  for (const [type, bytes] of cases) {
    const raw = await RawPeer.meet(b.endpoint)
    raw.socket.write(raw.frame({ type, volume: VOLUME, epoch: 1 }, bytes))
    await raw.ended()
  }
  t.ok(b.events.length >= 5)
})

t.test('a frame of another connection, or a second time', async (t) => {
  const b = await asked(t)
  const one = await RawPeer.meet(b.endpoint)
  const two = await RawPeer.meet(b.endpoint, { node: 'n4' })
  two.socket.write(one.messages(sync(1)))
  await two.ended()
  t.match(reasons(b), /damaged or foreign/)
  const frame = one.frame({})
  one.socket.write(frame)
  one.socket.write(frame)
  await one.ended()
  t.match(reasons(b), /missing or repeated/)
})

t.test('what a member may not do ends the connection before its body is taken, or is read over', async (t) => {
  const frames: IncomingFrame[] = []
  const mayReceive = (_: unknown, frame: IncomingFrame): FrameRefusal | undefined => {
    frames.push(frame)
    if (frame.epoch === 9) return { action: 'close', why: `epoch ${frame.epoch} is not one of this volume` }
    return frame.epoch === 8 ? { action: 'skip', why: 'the volume is gone' } : undefined
  }
  const [a, b] = await pair(t, { b: { rules: { mayReceive } } })
  const append = (epoch: number, seq: number) => ({
    type: 'append' as const, epoch, previous: { epoch: 1, seq: 1 }, commitSeq: 1,
    records: [{ epoch, seq, request: undefined, kind: 'write' as const, lba: 1, blockCount: 1, payload: blocks(1, 1) }],
  })
  a.send(b, append(8, 2))
  a.send(b, append(7, 3))
  await until(() => b.got.length === 1)
  t.match(b.got[0]!.message, { epoch: 7 })
  t.same(frames[0], { family: 'copy', type: 'append', volumeId: VOLUME_ID, epoch: 8 })
  a.send(b, append(9, 4))
  await until(() => b.downs.length > 0)
  t.match(b.downs[0], /refused/)
  t.match(b.events[0], { message: 'connection ended', fields: { peer: 'n1', reason: /append: epoch 9/ } })
  t.equal(b.got.length, 1)
})

t.test('who sends more than was allowed', async (t) => {
  const b = await asked(t, { onMessage: () => undefined })
  const raw = await RawPeer.meet(b.endpoint)
  const payload = blocks(256, 1)
  const records = [0, 1, 2, 3].map((page) => ({
    epoch: 1, seq: 1 + page, request: undefined, kind: 'write' as const, lba: 256 * page, blockCount: 256, payload,
  }))
  const append = { type: 'append' as const, epoch: 1, previous: { epoch: 1, seq: 0 }, commitSeq: 0, records }
  raw.socket.write(raw.messages(...Array.from({ length: 10 }, () => append)))
  await raw.ended()
  t.match(reasons(b), /beyond the window/)
})

t.test('a thousand connections come and go, and the log stays short', async (t) => {
  const b = await asked(t)
  const sockets: net.Socket[] = []
  for (let i = 0; i < 1000; i++) {
    const socket = net.connect(b.endpoint as net.TcpNetConnectOpts)
    socket.on('error', () => undefined)
    socket.on('connect', () => socket.write('hello'))
    sockets.push(socket)
    if (i % 50 === 49) await new Promise(setImmediate)
  }
  await until(() => sockets.every((socket) => !socket.connecting))
  t.ok(b.listener.arriving <= 256)
  for (const socket of sockets) socket.destroy()
  await until(() => b.listener.arriving === 0)
  for (let i = 0; i < 300; i++) await RawPeer.meet(b.endpoint, { clusterId: hex() })
  t.ok(b.events.length < 10, `${b.events.length} events`)
  t.equal(b.transport.connections, 2)
})
