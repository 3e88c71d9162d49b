/** Sessions of a worker: counted by volume, ended with their answers, cut off when held requests outlast the drain. */
import { once } from 'node:events'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { VolumeExports } from '../../dataplane/export-directory.ts'
import { NbdListener } from '../../dataplane/nbd/listener.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../../dataplane/nbd/protocol.ts'
import { NbdSessions } from '../../dataplane/session-table.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { VolumeStatus } from '../../engine/volume/volume-spec.ts'
import { MemoryDevice } from '../memory-device.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { RawClient } from './nbd/raw-client.ts'

function statusOf(name: string): VolumeStatus {
  return {
    spec: {
      id: name.padEnd(32, '0'), name, sizeBytes: 2 ** 20, blockSizeBytes: 4096, replicas: 0, durability: 'durable',
      onFull: 'hold', ioTimeoutMs: 0, pool: 'default', diskTags: [],
    },
    health: 'healthy', healthReason: '', epoch: 1, seq: 0, commitSeq: 0, usedBytes: 0, logicalBytes: 0, heldRequests: 0,
  }
}

async function stand(t: Test, names: string[]) {
  const socketPath = path.join(temporaryFolder(t), 'nbd.sock')
  const devices = new Map(names.map((name) => [name, new MemoryDevice({ sizeBytes: 2 ** 20, pace: 'turn' })]))
  const exports = new VolumeExports()
  for (const name of names) exports.offer(statusOf(name), 0)
  const ended: Array<{ volume: string; reason: string }> = []
  const sessions = new NbdSessions({
    deviceOf: (volume) => devices.get(volume),
    onEnded: (session, volume, reason) => {
      listener.sessionEnded(session)
      ended.push({ volume, reason })
    },
  })
  const listener = new NbdListener({ exports, onSession: (session) => sessions.add(session) })
  await listener.listenUnix(socketPath)
  t.teardown(async () => {
    await sessions.end(undefined, 0)
    await listener.close()
  })
  const open = (name: string) => RawClient.open(socketPath, { name })
  return { devices, exports, sessions, listener, ended, open }
}

async function gone(client: RawClient): Promise<void> {
  if (!client.closed) await once(client.socket, 'end')
  client.close()
}

t.test('sessions are counted by volume and ended by volume', async (t) => {
  const { sessions, listener, ended, open } = await stand(t, ['a', 'b'])
  const [a1, a2, b] = await Promise.all([open('a'), open('a'), open('b')])
  for (const client of [a1, a2, b]) t.equal((await client.ask({ type: NBD_CMD_READ, length: 4096 })).errno, 0)
  t.same([sessions.count('a'), sessions.count('b'), sessions.count('c')], [2, 1, 0])
  t.same(sessions.reports().map(({ volume }) => volume).sort(), ['a', 'a', 'b'])
  await sessions.end('a', 1000)
  await Promise.all([gone(a1), gone(a2)])
  t.match(ended, [{ volume: 'a', reason: 'drained' }, { volume: 'a', reason: 'drained' }])
  t.equal(listener.connections, 1)
  t.equal((await b.ask({ type: NBD_CMD_READ, length: 4096 })).errno, 0, 'the other volume goes on')
  b.close()
})

t.test('what was asked is answered before a drained session closes', async (t) => {
  const { devices, sessions, open } = await stand(t, ['a'])
  const client = await open('a')
  const device = devices.get('a')!
  device.pace = 'held'
  const answer = client.ask({ type: NBD_CMD_WRITE, length: 4096, data: Buffer.alloc(4096, 7) })
  while (device.heldCalls === 0) await new Promise((resolve) => setImmediate(resolve))
  const ending = sessions.end(undefined, 10_000)
  device.stepAll()
  t.equal((await answer).errno, 0)
  await ending
  await gone(client)
})

t.test('a request that is held for ever does not hold up the end', async (t) => {
  const { devices, sessions, ended, open } = await stand(t, ['a'])
  const client = await open('a')
  const device = devices.get('a')!
  device.pace = 'held'
  client.send({ type: NBD_CMD_WRITE, length: 4096, data: Buffer.alloc(4096, 7) })
  while (device.heldCalls === 0) await new Promise((resolve) => setImmediate(resolve))
  await sessions.end('a', 1)
  await gone(client)
  t.equal(ended.length, 0, 'the volume still holds a buffer of it')
  device.stepAll()
  while (ended.length === 0) await new Promise((resolve) => setImmediate(resolve))
  t.equal(sessions.count('a'), 0)
})

t.test('who uses a volume now: one that has left is waited for, one that is there is told at once', async (t) => {
  const { devices, sessions, ended, open } = await stand(t, ['a', 'b'])
  const clients = (mostMs: number): Promise<number[]> =>
    new Promise((resolve) => sessions.clients((name) => name === 'a', mostMs, resolve))
  t.same(await clients(100_000), [], 'nobody')
  const other = await open('b')
  const [leaver, stayer] = [await open('a'), await open('a')]
  const device = devices.get('a')!
  device.pace = 'held'
  leaver.send({ type: NBD_CMD_WRITE, length: 4096, data: Buffer.alloc(4096, 7) })
  while (device.heldCalls === 0) await new Promise((resolve) => setImmediate(resolve))
  leaver.close()
  t.same(await clients(100_000), [0, 0], 'one stays')
  stayer.close()
  const waited = clients(100_000)
  while (ended.length === 0) await new Promise((resolve) => setImmediate(resolve))
  t.equal(sessions.count('a'), 1)
  t.same(await clients(1), [0], 'what it had asked is not done')
  device.stepAll()
  t.same(await waited, [], 'all are gone')
  other.close()
})

t.test('a volume deleted while its client was shaking hands', async (t) => {
  const { devices, listener, ended, open } = await stand(t, ['a'])
  devices.delete('a')
  const client = await open('a')
  await gone(client)
  t.same(ended, [{ volume: 'a', reason: 'volume-gone' }])
  t.equal(listener.connections, 0)
})

t.test('a client that names no export gets the only one', async (t) => {
  const { exports } = await stand(t, ['a'])
  t.match(exports.find(''), { name: 'a' })
  exports.offer(statusOf('b'), 1)
  t.equal(exports.find(''), undefined)
})

t.test('whether it is locked is asked of a volume that says plain, too', async (t) => {
  const exports = new VolumeExports()
  exports.whyLocked = ({ name: volume }) => new HoldfastError('key-refused', { volume, wanted: 'f0'.repeat(8) })
  exports.offer(statusOf('a'), 0)
  t.match(exports.find('a'), { refused: /does not open with key f0f0/ })
})
