/**
 * A node leaves while a client writes through another one: a replica takes over, the client sees a pause and no error;
 * what comes back catches up, and in the end all copies are the same.
 */
import t from 'tap'
import type { Test } from 'tap'
import { BLOCK_BYTES, MIB } from '../../../engine/units.ts'
import { contentOf } from './copy-content.ts'
import { configOf, hex, specOf, startHosts, until } from './hosts.ts'
import type { Device, Host } from './hosts.ts'
import { MemoryConfigs } from './memory-configs.ts'
import { block, Writer } from './stamp-writer.ts'

const SIZE_BYTES = 8 * MIB
const BLOCKS = SIZE_BYTES / BLOCK_BYTES

async function assertRead(t: Test, device: Device, model: Uint32Array): Promise<void> {
  const into = Buffer.alloc(SIZE_BYTES, 255)
  t.equal(await device.read(0, into), 0, 'read')
  const wrong = []
  for (const [lba, stamp] of model.entries()) {
    const at = lba * BLOCK_BYTES
    if (!into.subarray(at, at + BLOCK_BYTES).equals(block(stamp))) wrong.push(lba)
  }
  t.same(wrong, [], 'every block as it was written last')
}

async function assertSame(t: Test, hosts: readonly Host[], volumeId: string): Promise<void> {
  const copies = hosts.map((host) => host.worker.copies.copy(volumeId)!)
  await until(() => new Set(copies.map(({ state }) => `${state.log.tail} ${state.log.appliedSeq}`)).size === 1)
  const [first, ...others] = await Promise.all(copies.map((copy) => contentOf(copy, BLOCKS)))
  for (const other of others) t.same(other, first, 'the same versions with the same bytes')
}

t.test('the primary leaves, and comes back', async (t) => {
  const configs = new MemoryConfigs()
  const hosts = await startHosts(t, ['n1', 'n2', 'n3'], configs)
  const [n1, n2, n3] = hosts as [Host, Host, Host]
  const spec = specOf({ sizeBytes: SIZE_BYTES })
  const ids = hosts.map(() => hex())
  configs.put(configOf(spec.id, Object.fromEntries(hosts.map(({ node }, i) => [node, ids[i]!]))))
  await Promise.all(hosts.map((host, i) => host.create(spec, ids[i]!)))
  await until(() => n1.role(spec.id) === 'primary')
  const writer = new Writer(n3.attach(spec), BLOCKS)
  await writer.more(200)
  await n1.stop()
  await writer.more(200)
  const { primary, inSync, epoch } = configs.get(spec.id)
  t.ok(['n2', 'n3'].includes(primary), `${primary} took over`)
  t.same([...inSync].sort(), ['n2', 'n3'], 'the one that left was let go')
  t.ok(epoch > 1)
  await n1.start()
  n1.meet(hosts)
  await until(() => configs.get(spec.id).inSync.length === 3)
  await writer.more(100)
  await writer.stop()
  t.same(writer.errors, [], 'no request failed')
  await assertRead(t, n2.attach(spec), writer.model)
  await assertSame(t, hosts, spec.id)
})

t.test('a replica leaves: it is let go, and filled when it comes back', async (t) => {
  const configs = new MemoryConfigs()
  const hosts = await startHosts(t, ['n1', 'n2'], configs)
  const [n1, n2] = hosts as [Host, Host]
  const spec = specOf({ sizeBytes: SIZE_BYTES, replicas: 1 })
  const ids = hosts.map(() => hex())
  configs.put(configOf(spec.id, Object.fromEntries(hosts.map(({ node }, i) => [node, ids[i]!]))))
  await Promise.all(hosts.map((host, i) => host.create(spec, ids[i]!)))
  await until(() => n1.role(spec.id) === 'primary')
  const writer = new Writer(n1.attach(spec), BLOCKS)
  await writer.more(100)
  await n2.stop()
  await writer.more(500)
  t.same(configs.get(spec.id).inSync, ['n1'])
  await n2.start()
  n2.meet(hosts)
  await until(() => configs.get(spec.id).inSync.length === 2)
  await writer.stop()
  t.same(writer.errors, [])
  await assertSame(t, hosts, spec.id)
})

t.test('the cluster store is away: I/O goes on', async (t) => {
  const configs = new MemoryConfigs()
  const hosts = await startHosts(t, ['n1', 'n2'], configs)
  const [n1, n2] = hosts as [Host, Host]
  const spec = specOf({ sizeBytes: SIZE_BYTES, replicas: 1 })
  const ids = hosts.map(() => hex())
  configs.put(configOf(spec.id, Object.fromEntries(hosts.map(({ node }, i) => [node, ids[i]!]))))
  await Promise.all(hosts.map((host, i) => host.create(spec, ids[i]!)))
  await until(() => n1.role(spec.id) === 'primary')
  const device = n2.attach(spec)
  t.equal(await device.write(0, block(1)), 0)
  configs.isAway = true
  const writer = new Writer(device, BLOCKS)
  await writer.more(500)
  await writer.stop()
  t.same(writer.errors, [])
  t.equal(configs.get(spec.id).inSync.length, 2)
  configs.isAway = false
  await assertRead(t, device, writer.model)
})
