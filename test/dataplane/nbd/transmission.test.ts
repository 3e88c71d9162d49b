/** Risk: a request of a real connection is answered wrongly, twice, never, or with bytes of another one. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { NBD_ERRNO } from '../../../engine/errors.ts'
import * as P from '../../../dataplane/nbd/protocol.ts'
import type { ReplyStyle } from '../../../dataplane/nbd/reply-writer.ts'
import type { TRANSMISSION_LIMITS } from '../../../dataplane/nbd/request-admission.ts'
import { MemoryDevice } from '../../memory-device.ts'
import { MemoryServer } from '../../nbd-server.ts'
import { RawClient } from './raw-client.ts'

const MIB = 1024 * 1024
const STYLES: ReplyStyle[] = ['simple', 'structured', 'extended']

interface Setup {
  sizeBytes?: number
  readOnly?: boolean
  pace?: 'sync' | 'turn' | 'held'
  limits?: Partial<typeof TRANSMISSION_LIMITS>
}

async function serve(t: Test, setup: Setup = {}) {
  const { sizeBytes = 64 * MIB, readOnly = false, pace = 'sync', limits = {} } = setup
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'nbd-'))
  const device = new MemoryDevice({ sizeBytes, readOnly, pace })
  device.record = true
  const server = new MemoryServer({ devices: { disk: device }, limits })
  const socketPath = path.join(dir, 's')
  await server.listener.listenUnix(socketPath)
  const clients: RawClient[] = []
  t.teardown(async () => {
    for (const client of clients) client.close()
    await server.close()
    fs.rmSync(dir, { recursive: true })
  })
  const open = async (style: ReplyStyle = 'simple', contexts = style !== 'simple') => {
    const client = await RawClient.open(socketPath, { style, contexts })
    clients.push(client)
    return client
  }
  return { device, server, open, socketPath }
}


const pattern = (length: number, seed: number) => Buffer.from(Array.from({ length }, (_, i) => (i * 13 + seed) & 255))

for (const style of STYLES) {
  for (const pace of ['sync', 'turn'] as const) {
    t.test(`what is written is read, ${style} replies, ${pace} volume`, async (t) => {
      const { open, device } = await serve(t, { pace })
      const client = await open(style)
      const data = pattern(5000, 3)
      t.match(await client.ask({ type: P.NBD_CMD_WRITE, offset: 4097, data, cookie: 77 }), { errno: 0, cookie: 77 })
      const read = await client.ask({ type: P.NBD_CMD_READ, offset: 4000, length: 6000 })
      t.ok(read.data.equals(Buffer.concat([Buffer.alloc(97), data, Buffer.alloc(903)])))
      t.equal((await client.ask({ type: P.NBD_CMD_FLUSH })).errno, 0)
      t.ok(device.durable)
      t.equal((await client.ask({ type: P.NBD_CMD_TRIM, offset: 4096, length: 1000 })).errno, 0)
      t.equal((await client.ask({ type: P.NBD_CMD_WRITE_ZEROES, offset: 5000, length: 100, flags: 1 })).errno, 0)
      t.equal((await client.ask({ type: P.NBD_CMD_CACHE, offset: 0, length: 65536 })).errno, 0)
      const after = await client.ask({ type: P.NBD_CMD_READ, offset: 4096, length: 2000 })
      t.ok(after.data.equals(Buffer.concat([Buffer.alloc(1004), data.subarray(1003, 1999)])))
      t.same(device.log.map(({ kind, fua }) => fua ? `${kind}!` : kind),
        ['write', 'read', 'flush', 'trim', 'zero!', 'read'])
    })
  }

  t.test(`requests of nothing are answered, ${style} replies`, async (t) => {
    const { open, device } = await serve(t)
    const client = await open(style)
    for (const type of [P.NBD_CMD_READ, P.NBD_CMD_WRITE, P.NBD_CMD_TRIM, P.NBD_CMD_CACHE, P.NBD_CMD_WRITE_ZEROES]) {
      const data = type === P.NBD_CMD_WRITE ? Buffer.alloc(0) : undefined
      const reply = await client.ask({ type, offset: 64 * MIB, length: 0, ...(data === undefined ? {} : { data }) })
      t.match(reply, { errno: 0, data: { length: 0 } }, `command ${type}`)
      if (style !== 'simple' && type === P.NBD_CMD_READ) t.equal(reply.chunks[0]?.type, P.NBD_REPLY_TYPE_NONE)
    }
    t.same(device.log, [], 'the volume is not asked')
  })

  t.test(`errors leave the connection usable, ${style} replies`, async (t) => {
    const { open, device } = await serve(t)
    const client = await open(style)
    const { EINVAL, ENOSPC, EIO } = NBD_ERRNO
    const far = (1n << 63n) - 1n
    t.equal((await client.ask({ type: P.NBD_CMD_READ, offset: 64 * MIB - 1, length: 2 })).errno, EINVAL)
    t.equal((await client.ask({ type: P.NBD_CMD_READ, offset: far, length: 1 })).errno, EINVAL)
    t.equal((await client.ask({ type: P.NBD_CMD_WRITE, offset: 64 * MIB, data: pattern(70_000, 1) })).errno, ENOSPC)
    t.equal((await client.ask({ type: P.NBD_CMD_TRIM, offset: far, length: 1 })).errno, EINVAL)
    t.equal((await client.ask({ type: 99 })).errno, EINVAL)
    t.equal((await client.ask({ type: P.NBD_CMD_FLUSH, flags: 1 << 9 })).errno, EINVAL)
    device.faults.push({ kind: 'read', offsetBytes: 8192, lengthBytes: 1, errno: EIO })
    device.faults.push({ kind: 'write', offsetBytes: 0, lengthBytes: 1, errno: 122 })
    t.equal((await client.ask({ type: P.NBD_CMD_READ, offset: 4096, length: 8192 })).errno, EIO)
    t.equal((await client.ask({ type: P.NBD_CMD_WRITE, offset: 0, data: pattern(1, 1) })).errno, EIO, 'not on the wire')
    t.equal((await client.ask({ type: P.NBD_CMD_READ, offset: 0, length: 4096 })).errno, 0)
  })

  t.test(`a hundred requests in one packet, then a packet per byte, ${style} replies`, async (t) => {
    const { open } = await serve(t)
    const client = await open(style)
    const asks = Array.from({ length: 100 }, (_, i) => i % 3 === 0
      ? { type: P.NBD_CMD_READ, cookie: i, offset: 0, length: i }
      : { type: P.NBD_CMD_WRITE, cookie: i, offset: 4096, data: pattern(i, i) })
    client.socket.write(Buffer.concat(asks.map((ask) => client.encode(ask))))
    for (let i = 0; i < 100; i++) t.equal((await client.reply()).cookie, i)
    client.socket.setNoDelay(true)
    const bytes = client.encode({ type: P.NBD_CMD_WRITE, cookie: 500, offset: 0, data: pattern(40, 9) })
    for (const byte of bytes) {
      await new Promise<void>((resolve) => client.socket.write(Buffer.from([byte]), () => resolve()))
    }
    t.match(await client.reply(), { cookie: 500, errno: 0 })
  })

  t.test(`the longest payload passes both ways, ${style} replies`, async (t) => {
    const { open } = await serve(t, { sizeBytes: 80 * MIB })
    const client = await open(style)
    const data = Buffer.alloc(P.PAYLOAD_BYTES_MAX, 7)
    t.equal((await client.ask({ type: P.NBD_CMD_WRITE, offset: MIB, data })).errno, 0)
    const read = await client.ask({ type: P.NBD_CMD_READ, offset: MIB, length: data.length, flags: 0 })
    t.ok(read.data.equals(data))
    t.equal((await client.ask({ type: P.NBD_CMD_READ, offset: 0, length: data.length + 1 })).errno, NBD_ERRNO.EINVAL)
  })
}

t.test('replies follow the volume, not the order of the requests', async (t) => {
  const { open, device } = await serve(t, { pace: 'held' })
  const client = await open('structured')
  for (let i = 0; i < 3; i++) client.send({ type: P.NBD_CMD_READ, cookie: i, offset: i * 4096, length: 4096 })
  client.send({ type: P.NBD_CMD_WRITE, cookie: 3, data: pattern(10, 1) })
  while (device.heldCalls < 4) await new Promise(setImmediate)
  for (const index of [2, 0, 1, 0]) device.step(index)
  const order = []
  for (let i = 0; i < 4; i++) order.push((await client.reply()).cookie)
  t.same(order, [2, 0, 3, 1])
})

t.test('a sparse read sends data and holes, DF sends one piece', async (t) => {
  const { open, device } = await serve(t, { pace: 'turn' })
  const client = await open('structured')
  const data = pattern(65536, 5)
  await client.ask({ type: P.NBD_CMD_WRITE, offset: 65536, data })
  const expected = Buffer.concat([Buffer.alloc(65536), data, Buffer.alloc(65536)])
  const read = await client.ask({ type: P.NBD_CMD_READ, length: 3 * 65536 })
  t.ok(read.data.equals(expected))
  t.same(read.chunks.map(({ type, flags }) => [type, flags]), [[2, 0], [1, 0], [2, 1]])
  const whole = await client.ask({ type: P.NBD_CMD_READ, length: 3 * 65536, flags: P.NBD_CMD_FLAG_DF })
  t.ok(whole.data.equals(expected))
  t.equal(whole.chunks.length, 1)
  device.faults.push({ kind: 'read', offsetBytes: 65536, lengthBytes: 1, errno: NBD_ERRNO.EIO })
  const failed = await client.ask({ type: P.NBD_CMD_READ, length: 3 * 65536 })
  t.equal(failed.errno, NBD_ERRNO.EIO)
  t.equal(failed.chunks.length, 1, 'no data of a read that failed')
})

t.test('block status: extents, REQ_ONE, 64-bit lengths, and EINVAL without a context', async (t) => {
  const TIB = 1024 ** 4
  const { open, device } = await serve(t, { sizeBytes: 64 * TIB })
  const simple = await open('structured', false)
  t.equal((await simple.ask({ type: P.NBD_CMD_BLOCK_STATUS, length: 4096 })).errno, NBD_ERRNO.EINVAL)
  const compact = await open('structured')
  await compact.ask({ type: P.NBD_CMD_WRITE, offset: 65536, data: pattern(65536, 1) })
  const { chunks } = await compact.ask({ type: P.NBD_CMD_BLOCK_STATUS, length: 0xffff_f000 })
  t.equal(chunks[0]!.type, P.NBD_REPLY_TYPE_BLOCK_STATUS)
  t.same([...new Uint32Array(chunks[0]!.payload.swap32().buffer.slice(
    chunks[0]!.payload.byteOffset, chunks[0]!.payload.byteOffset + 28))],
  [1, 65536, 3, 65536, 0, 0xffff_f000 - 131072, 3])
  const one = await compact.ask({
    type: P.NBD_CMD_BLOCK_STATUS, offset: 1000, length: 4096, flags: P.NBD_CMD_FLAG_REQ_ONE,
  })
  t.same([one.chunks[0]!.payload.length, one.chunks[0]!.payload.readUInt32BE(4)], [12, 4096])
  const wide = await open('extended')
  const all = await wide.ask({ type: P.NBD_CMD_BLOCK_STATUS, length: 64 * TIB })
  t.equal(all.chunks[0]!.type, P.NBD_REPLY_TYPE_BLOCK_STATUS_EXT)
  t.equal(all.chunks[0]!.payload.readUInt32BE(4), 3)
  t.equal(all.chunks[0]!.payload.readBigUInt64BE(8 + 32), 64n * 2n ** 40n - 131072n)
  t.equal((await wide.ask({ type: P.NBD_CMD_TRIM, length: 64 * TIB })).errno, 0, 'more than 4 GiB at once')
  t.equal((await wide.ask({ type: P.NBD_CMD_BLOCK_STATUS, length: 4096 })).chunks[0]!.payload.readBigUInt64BE(16), 3n)
  device.faults.push({ kind: 'status', offsetBytes: 0, lengthBytes: 1, errno: NBD_ERRNO.EIO })
  t.equal((await wide.ask({ type: P.NBD_CMD_BLOCK_STATUS, length: 4096 })).errno, NBD_ERRNO.EIO)
  t.equal((await wide.ask({ type: P.NBD_CMD_READ, length: 65536 })).errno, 0, 'a read does not need the status')
})

t.test('extended replies repeat the offset exactly, and a payload on a read is read over', async (t) => {
  const { open } = await serve(t)
  const client = await open('extended')
  client.send({ type: P.NBD_CMD_READ, cookie: 5, offset: 0xfedcba9876543210n, length: 1 })
  t.equal((await client.peek(32)).readBigUInt64BE(16), 0xfedcba9876543210n)
  t.equal((await client.reply()).errno, NBD_ERRNO.EINVAL)
  const data = pattern(300_000, 1)
  t.equal((await client.ask({ type: P.NBD_CMD_READ, flags: P.NBD_CMD_FLAG_PAYLOAD_LEN, data })).errno, NBD_ERRNO.EINVAL)
  t.equal((await client.ask({ type: P.NBD_CMD_READ, length: 512 })).errno, 0)
})

t.test('a read-only export refuses writes, reads over their payload, and serves reads', async (t) => {
  const { open, device } = await serve(t, { readOnly: true })
  const client = await open()
  t.equal((await client.ask({ type: P.NBD_CMD_WRITE, data: pattern(9000, 1) })).errno, NBD_ERRNO.EPERM)
  t.equal((await client.ask({ type: P.NBD_CMD_TRIM, length: 9000 })).errno, NBD_ERRNO.EPERM)
  t.equal((await client.ask({ type: P.NBD_CMD_READ, length: 9000 })).errno, 0)
  t.same(device.log.map(({ kind }) => kind), ['read'])
})

t.test('a volume that grew is served up to its new size', async (t) => {
  const { open, device } = await serve(t)
  const client = await open()
  t.equal((await client.ask({ type: P.NBD_CMD_READ, offset: 64 * MIB, length: 1 })).errno, NBD_ERRNO.EINVAL)
  device.sizeBytes = 65 * MIB
  t.equal((await client.ask({ type: P.NBD_CMD_READ, offset: 64 * MIB, length: 1 })).errno, 0)
})

t.test('DISC finishes what is in flight, then closes', async (t) => {
  const { open, device, server } = await serve(t, { pace: 'held' })
  const client = await open()
  client.send({ type: P.NBD_CMD_WRITE, cookie: 1, data: pattern(4096, 1) })
  client.send({ type: P.NBD_CMD_READ, cookie: 2, length: 16 })
  client.send({ type: P.NBD_CMD_DISC })
  client.send({ type: P.NBD_CMD_WRITE, cookie: 3, data: pattern(4096, 1) })
  while (device.heldCalls < 2) await new Promise(setImmediate)
  device.stepAll()
  t.match(await client.reply(), { cookie: 1, errno: 0 })
  t.match(await client.reply(), { cookie: 2, errno: 0 })
  t.equal((await client.ended()).length, 0)
  while (server.transmissions.size > 0) await new Promise(setImmediate)
  t.same(server.closed, ['disconnected'])
  t.equal(device.log.length, 2, 'nothing behind DISC')
})

t.test('a write cut off by the end of the stream never reaches the volume', async (t) => {
  const { open, device, server } = await serve(t)
  const client = await open()
  const bytes = client.encode({ type: P.NBD_CMD_WRITE, data: pattern(100_000, 1) })
  client.socket.end(bytes.subarray(0, 99_999))
  await client.ended()
  while (server.transmissions.size > 0) await new Promise(setImmediate)
  t.same(device.log, [])
  t.same(server.closed, ['client-closed'])
})

t.test('a client that vanishes leaves nothing behind while the volume is still busy', async (t) => {
  const { open, device, server } = await serve(t, { pace: 'held' })
  const client = await open('structured')
  client.send({ type: P.NBD_CMD_WRITE, data: pattern(4096, 1) })
  client.send({ type: P.NBD_CMD_READ, length: 4096 })
  client.send({ type: P.NBD_CMD_READ, length: 131072 })
  client.send({ type: P.NBD_CMD_BLOCK_STATUS, length: 4096 })
  while (device.heldCalls < 4) await new Promise(setImmediate)
  for (const transmission of server.transmissions) transmission.destroy()
  await client.ended()
  t.equal(server.transmissions.size, 1, 'the volume still owes answers')
  device.stepAll()
  while (server.transmissions.size > 0) await new Promise(setImmediate)
  t.same(server.closed, ['destroyed'])
  t.equal(server.listener.connections, 0)
})

t.test('what waited for a client that is gone is not written over what it wrote on another socket', async (t) => {
  for (const lengthBytes of [4096, 1024 * 1024]) {
    const { open, device, server } = await serve(t, { pace: 'held', limits: { inFlightRequestsMax: 1 } })
    const first = await open()
    // The first one is with the volume, the second one waits: here, or in good part still in the socket.
    first.send({ type: P.NBD_CMD_WRITE, offset: 8 * MIB, data: pattern(4096, 1) })
    first.send({ type: P.NBD_CMD_WRITE, data: pattern(lengthBytes, 2) })
    while (device.heldCalls < 1) await new Promise(setImmediate)
    const closed = new Promise((resolve) => first.socket.once('close', resolve))
    first.close()
    await closed
    const second = await open()
    for (const seed of [2, 3]) {
      second.send({ type: P.NBD_CMD_WRITE, data: pattern(lengthBytes, seed) })
      while (device.heldCalls < 2) await new Promise(setImmediate)
      device.step(1)
      t.equal((await second.reply()).errno, 0)
    }
    device.stepAll()
    while (server.transmissions.size > 1) await new Promise(setImmediate)
    t.same(server.closed, ['socket'], 'nobody takes the answer to the first one')
    t.same(device.log.map((call) => call.offsetBytes), [8 * MIB, 0, 0], 'nothing comes late')
    device.pace = 'sync'
    const { data } = await second.ask({ type: P.NBD_CMD_READ, length: lengthBytes })
    t.ok(data.equals(pattern(lengthBytes, 3)))
  }
})

t.test('who sends no more and waits for answers is answered, whatever had to wait', async (t) => {
  const { open, device, server } = await serve(t, { pace: 'turn', limits: { inFlightRequestsMax: 1 } })
  const client = await open()
  const writes = Array.from({ length: 20 }, (_, i) =>
    client.encode({ type: P.NBD_CMD_WRITE, cookie: i, offset: i * MIB, data: pattern(65536, i) }))
  client.socket.end(Buffer.concat(writes))
  for (let i = 0; i < 20; i++) t.match(await client.reply(), { cookie: i, errno: 0 })
  await client.ended()
  while (server.transmissions.size > 0) await new Promise(setImmediate)
  t.same(server.closed, ['client-closed'])
  t.equal(device.log.length, 20)
})

t.test('drain answers what was accepted, and closes with what comes later unanswered', async (t) => {
  const { open, device, server } = await serve(t, { pace: 'held' })
  const client = await open('structured')
  client.send({ type: P.NBD_CMD_WRITE, cookie: 1, data: pattern(4096, 1) })
  while (device.heldCalls < 1) await new Promise(setImmediate)
  const [transmission] = server.transmissions
  let drained = false
  transmission!.drain(() => { drained = true })
  client.send({ type: P.NBD_CMD_READ, cookie: 2, length: 1 })
  client.send({ type: P.NBD_CMD_WRITE, cookie: 3, data: pattern(4096, 2) })
  for (let turns = 0; turns < 50; turns++) await new Promise(setImmediate)
  t.equal(drained, false)
  t.equal(device.heldCalls, 1, 'nothing more is asked of the volume')
  device.stepAll()
  t.match(await client.reply(), { cookie: 1, errno: 0 })
  t.equal((await client.ended()).length, 0, 'nothing is said of the others')
  while (!drained) await new Promise(setImmediate)
  t.same(server.closed, ['drained'])
})

t.test('an idle connection drains at once', async (t) => {
  const { open, server } = await serve(t)
  const client = await open()
  const [transmission] = server.transmissions
  await new Promise<void>((resolve) => transmission!.drain(resolve))
  await client.ended()
  t.same(server.closed, ['drained'])
})
