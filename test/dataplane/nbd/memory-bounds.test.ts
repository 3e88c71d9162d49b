/** Risk: a client that asks for much and takes or sends little makes the worker hold memory without bound. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { assert } from '../../../engine/assert.ts'
import { MemoryBudget } from '../../../dataplane/nbd/memory-budget.ts'
import type { BudgetMember } from '../../../dataplane/nbd/memory-budget.ts'
import * as P from '../../../dataplane/nbd/protocol.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import type { TRANSMISSION_LIMITS } from '../../../dataplane/nbd/request-admission.ts'
import { MemoryDevice } from '../../memory-device.ts'
import { MemoryServer } from '../../nbd-server.ts'
import { RawClient } from './raw-client.ts'
import { settled } from './settled.ts'

const MIB = 1024 * 1024

async function serve(t: Test, options: {
  limits?: Partial<typeof TRANSMISSION_LIMITS>
  budget?: MemoryBudget
  pace?: 'sync' | 'held'
}) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'nbd-'))
  const device = new MemoryDevice({ sizeBytes: 64 * MIB, pace: options.pace ?? 'sync' })
  device.record = true
  const memory = { pool: new SlabPool(), budget: options.budget ?? new MemoryBudget() }
  const server = new MemoryServer({ devices: { disk: device }, memory, limits: options.limits ?? {} })
  await server.listener.listenUnix(path.join(dir, 's'))
  const clients: RawClient[] = []
  t.teardown(async () => {
    for (const client of clients) client.close()
    await server.close()
    assert(memory.budget.usedBytes === 0, 'everything was given back')
    fs.rmSync(dir, { recursive: true })
  })
  const open = async () => {
    const client = await RawClient.open(path.join(dir, 's'))
    clients.push(client)
    return client
  }
  return { device, server, memory, open }
}

t.test('a client that does not take its data is not read any further', async (t) => {
  const { open, device, memory } = await serve(t, {})
  const client = await open()
  client.socket.pause()
  for (let i = 0; i < 200; i++) client.send({ type: P.NBD_CMD_READ, cookie: i, offset: 0, length: MIB })
  const served = await settled(() => device.log.length)
  t.ok(served < 45, `${served} of 200 were read ahead`)
  t.ok(memory.budget.usedBytes <= 33 * MIB, `${memory.budget.usedBytes} bytes are held`)
  client.socket.resume()
  for (let i = 0; i < 200; i++) t.equal((await client.reply()).cookie, i)
})

t.test('a client that does not take its acknowledgements is not read any further', async (t) => {
  const { open, device } = await serve(t, { limits: { queuedReplyBytesMax: 64 * 1024 } })
  const client = await open()
  client.socket.pause()
  const flush = client.encode({ type: P.NBD_CMD_FLUSH, cookie: 1 })
  const count = 60_000
  client.socket.write(Buffer.concat(Array.from({ length: count }, () => flush)))
  const served = await settled(() => device.log.length)
  t.ok(served < count, `${served} of ${count} were served`)
  client.socket.resume()
  await client.take(count * 16)
  t.equal(device.log.length, count, 'the others followed')
})

t.test('requests in flight are bounded, and the rest follows', async (t) => {
  const { open, device } = await serve(t, { pace: 'held', limits: { inFlightRequestsMax: 16 } })
  const client = await open()
  for (let i = 0; i < 100; i++) client.send({ type: P.NBD_CMD_WRITE, cookie: i, data: Buffer.alloc(10_000, i) })
  t.equal(await settled(() => device.heldCalls), 16)
  device.pace = 'sync'
  device.stepAll()
  for (let i = 0; i < 100; i++) t.equal((await client.reply()).errno, 0)
})

t.test('bytes in flight are bounded, a single request may be longer', async (t) => {
  const { open, device } = await serve(t, { pace: 'held', limits: { inFlightBytesMax: MIB } })
  const client = await open()
  for (let i = 0; i < 10; i++) client.send({ type: P.NBD_CMD_WRITE, data: Buffer.alloc(300_000, i) })
  t.equal(await settled(() => device.heldCalls), 3)
  device.pace = 'sync'
  device.stepAll()
  for (let i = 0; i < 10; i++) await client.reply()
  t.equal((await client.ask({ type: P.NBD_CMD_WRITE, data: Buffer.alloc(5 * MIB) })).errno, 0)
})

t.test('who promises data and does not send it gives way in the end; small requests never wait', async (t) => {
  const budget = new MemoryBudget({ limitBytes: 4 * MIB, floorBytes: 64 * 1024, stallMs: 120 })
  const { open, server } = await serve(t, { budget })
  const hostile = await open()
  const large = await open()
  const small = await open()
  const promise = hostile.encode({ type: P.NBD_CMD_WRITE, data: Buffer.alloc(4 * MIB) })
  hostile.socket.write(promise.subarray(0, 100_000))
  await settled(() => budget.usedBytes)
  t.equal(budget.usedBytes, 4 * MIB)
  large.send({ type: P.NBD_CMD_WRITE, data: Buffer.alloc(MIB) })
  t.equal((await small.ask({ type: P.NBD_CMD_WRITE, data: Buffer.alloc(4096) })).errno, 0, 'under the floor')
  await hostile.ended()
  t.equal((await large.reply()).errno, 0)
  t.ok(server.closed.includes('stalled'))
})

t.test('nobody is ended for being slow while there is room', async (t) => {
  const { open } = await serve(t, { budget: new MemoryBudget({ stallMs: 1 }) })
  const slow = await open()
  const bytes = slow.encode({ type: P.NBD_CMD_WRITE, data: Buffer.alloc(4 * MIB, 1) })
  slow.socket.write(bytes.subarray(0, 2 * MIB))
  await settled(() => slow.socket.bytesWritten)
  const other = await open()
  t.equal((await other.ask({ type: P.NBD_CMD_READ, length: 8 * MIB })).errno, 0)
  slow.socket.write(bytes.subarray(2 * MIB))
  t.equal((await slow.reply()).errno, 0)
})

t.test('the budget serves in the order of asking', async (t) => {
  const budget = new MemoryBudget({ limitBytes: 100, floorBytes: 10, stallMs: 1000 })
  const woken: string[] = []
  const member = (name: string, heldBytes = 0): BudgetMember => ({
    heldBytes, stalledSinceMs: undefined, evict() {}, budgetFreed: () => { woken.push(name) },
  })
  const [a, b, c] = [member('a', 20), member('b', 20), member('c', 20)]
  t.ok(budget.reserve(100, a))
  t.notOk(budget.reserve(50, b))
  t.notOk(budget.reserve(1, c), 'does not overtake')
  t.ok(budget.reserve(5, member('small')), 'the floor is always there')
  budget.release(60)
  t.same(woken, ['b'])
  t.ok(budget.reserve(50, b))
  t.same(woken, ['b', 'c'])
  budget.leave(c)
  t.notOk(budget.contended)
})
