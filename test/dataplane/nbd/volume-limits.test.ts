/** Risk: clients at a limit of their volume cost memory, hold up other volumes, or wait for ever. */
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { MemoryBudget } from '../../../dataplane/nbd/memory-budget.ts'
import * as P from '../../../dataplane/nbd/protocol.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import { assert } from '../../../engine/assert.ts'
import { QosGate } from '../../../engine/volume/qos-gate.ts'
import { MemoryDevice } from '../../memory-device.ts'
import { MemoryServer } from '../../nbd-server.ts'
import { SimClock } from '../../sim/clock.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RawClient } from './raw-client.ts'
import { settled } from './settled.ts'

const MIB = 1 << 20
const WRITE_BYTES = 64 * 1024
const ONE_IN_100_MS = { iops: 10, bandwidthBytes: 0, burstMs: 100 }

/** Volumes `slow`, whose gate has a clock that the test moves, and `free`. */
async function serve(t: Test, limits = ONE_IN_100_MS) {
  const socketPath = path.join(temporaryFolder(t), 's')
  const [slow, free] = [new MemoryDevice({ sizeBytes: 64 * MIB }), new MemoryDevice({ sizeBytes: MIB })]
  slow.record = true
  const clock = new SimClock()
  const gate = new QosGate(clock)
  gate.change(limits)
  const memory = { pool: new SlabPool(), budget: new MemoryBudget() }
  const gateOf = (name: string) => (name === 'slow' ? gate : undefined)
  const server = new MemoryServer({ devices: { slow, free }, memory, gateOf })
  await server.listener.listenUnix(socketPath)
  const clients: RawClient[] = []
  t.teardown(async () => {
    for (const client of clients) client.close()
    await server.close()
    assert(memory.budget.usedBytes === 0, 'everything was given back')
    assert(gate.waiting === 0, 'nobody waits')
  })
  const open = async (name: string) => {
    const client = await RawClient.open(socketPath, { name })
    clients.push(client)
    return client
  }
  return { slow, server, memory, clock, gate, open, served: () => settled(() => slow.log.length) }
}

const write = (cookie: number) =>
  ({ type: P.NBD_CMD_WRITE, cookie, offset: 0, length: WRITE_BYTES, data: Buffer.alloc(WRITE_BYTES, cookie) })

t.test('who waits is not read any further and holds no memory; each passes when its time has come', async (t) => {
  const { open, served, memory, clock, gate } = await serve(t)
  const client = await open('slow')
  for (let i = 0; i < 200; i++) client.send(write(i))
  t.equal(await served(), 1, 'the burst')
  t.equal(memory.budget.usedBytes, 0)
  t.equal(gate.waiting, 1, 'one place, whatever it has yet to ask')
  t.ok(client.socket.writableLength > 100 * WRITE_BYTES, `${client.socket.writableLength} bytes are still the client's`)
  for (let i = 2; i <= 5; i++) {
    clock.advance(101)
    t.equal(await served(), i)
  }
  gate.change({ iops: 1000, bandwidthBytes: 0, burstMs: 100 })
  for (let turn = 0; turn < 300; turn++) {
    clock.advance(1)
    await new Promise(setImmediate)
  }
  t.equal(await served(), 200, 'a higher limit counts for what waits')
  for (let i = 0; i < 200; i++) t.equal((await client.reply()).cookie, i)
})

t.test('limits that are lifted let all pass; reads, flushes and trims count, what is refused does not', async (t) => {
  const { open, served, gate, slow } = await serve(t)
  const client = await open('slow')
  const beyond = await client.ask({ type: P.NBD_CMD_READ, offset: 1e12, length: 4096 })
  t.not(beyond.errno, 0)
  const kinds = [P.NBD_CMD_READ, P.NBD_CMD_FLUSH, P.NBD_CMD_TRIM, P.NBD_CMD_READ]
  for (const [cookie, type] of kinds.entries()) {
    client.send({ type, cookie, offset: 0, length: type === P.NBD_CMD_FLUSH ? 0 : 4096 })
  }
  t.equal(await served(), 1)
  gate.change(undefined)
  t.equal(await served(), 4)
  t.same(slow.log.map(({ kind }) => kind), ['read', 'flush', 'trim', 'read'])
})

t.test('connections of a volume share its limits, and each has its turn', async (t) => {
  const { open, served, clock, slow } = await serve(t)
  const clients = await Promise.all([1, 2, 3].map(() => open('slow')))
  for (const [number, client] of clients.entries()) {
    for (let i = 0; i < 20; i++) {
      const offset = number * MIB
      client.send({ type: P.NBD_CMD_READ, cookie: i, offset, length: 4096 })
    }
  }
  t.equal(await served(), 1)
  for (let turn = 0; turn < 29; turn++) {
    clock.advance(101)
    await served()
  }
  t.equal(await served(), 30)
  const each = [0, 1, 2].map((number) => slow.log.filter(({ offsetBytes }) => offsetBytes === number * MIB).length)
  t.ok(Math.max(...each) - Math.min(...each) <= 2, `${each}: the one that had the burst is first once more`)
})

t.test('a volume at its limit holds up nobody else', async (t) => {
  const { open, served } = await serve(t)
  const slow = await open('slow')
  for (let i = 0; i < 100; i++) slow.send(write(i))
  t.equal(await served(), 1)
  const free = await open('free')
  for (let i = 0; i < 300; i++) t.equal((await free.ask({ type: P.NBD_CMD_READ, length: 4096 })).errno, 0)
  t.equal(await served(), 1)
})

t.test('who asks one thing at a time waits behind a share of what another volume asks, not behind all', async (t) => {
  const { open, slow, gate } = await serve(t)
  gate.change(undefined)
  const [deep, shallow] = [await open('slow'), await open('free')]
  const read = { type: P.NBD_CMD_READ, offset: 0, length: 4096 }
  for (let i = 0; i < 3; i++) for (const client of [deep, shallow]) t.equal((await client.ask(read)).errno, 0)
  const before = slow.log.length
  for (let i = 0; i < 8000; i++) deep.send({ type: P.NBD_CMD_TRIM, offset: 0, length: 4096, cookie: i })
  const behind: number[] = []
  for (let i = 0; i < 5; i++) {
    await shallow.ask(read)
    behind.push(slow.log.length - before)
  }
  t.ok(behind[0]! < 250 && behind.at(-1)! < 1000, `${behind} of 8000 were taken before its requests were answered`)
  for (let i = 0; i < 8000; i++) assert((await deep.reply()).errno === 0, "is served")
})

t.test('who goes away, or is drained, gives its place up, and what it asked is not done', async (t) => {
  const { open, served, server, clock, gate } = await serve(t)
  const [gone, drained, last] = [await open('slow'), await open('slow'), await open('slow')]
  for (let i = 0; i < 3; i++) gone.send(write(i))
  t.equal(await served(), 1)
  drained.send(write(1))
  await settled(() => gate.waiting)
  last.send(write(2))
  t.equal(await settled(() => gate.waiting), 3)
  const [, ofDrained] = server.transmissions
  ofDrained!.drain(() => undefined)
  await drained.ended()
  t.same([await settled(() => gate.waiting), server.closed], [2, ['drained']])
  gone.close()
  clock.advance(101)
  t.equal((await last.reply()).errno, 0, 'the one behind them passes: nobody who is gone takes its turn')
  t.equal(await served(), 2)
  t.same([gate.waiting, server.closed], [0, ['drained', 'client-closed']])
})
