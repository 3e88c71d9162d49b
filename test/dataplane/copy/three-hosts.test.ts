/** Three workers over real disks and sockets: what is written through any of them is read through all. */
import t from 'tap'
import type { Test } from 'tap'
import type { Durability } from '../../../engine/volume/volume-spec.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import { MemoryConfigs } from './memory-configs.ts'
import { configOf, hex, specOf, startHosts, until } from './hosts.ts'

async function testEverywhere(t: Test, durability: Durability): Promise<void> {
  const configs = new MemoryConfigs()
  const hosts = await startHosts(t, ['n1', 'n2', 'n3'], configs)
  const spec = specOf({ durability })
  const ids = hosts.map(() => hex())
  configs.put(configOf(spec.id, Object.fromEntries(hosts.map(({ node }, i) => [node, ids[i]!]))))
  await Promise.all(hosts.map((host, i) => host.create(spec, ids[i]!)))
  await until(() => hosts[0]!.role(spec.id) === 'primary')
  const devices = hosts.map((host) => host.attach(spec))
  for (const [i, device] of devices.entries()) {
    t.equal(await device.write(i * BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES, 65 + i)), 0, `written through ${i}`)
  }
  for (const [i, device] of devices.entries()) {
    const into = Buffer.alloc(4 * BLOCK_BYTES, 1)
    t.equal(await device.read(0, into), 0, `read through ${i}`)
    const expected = Buffer.concat([65, 66, 67, 0].map((byte) => Buffer.alloc(BLOCK_BYTES, byte)))
    t.ok(into.equals(expected), 'what was written, and zeroes behind it')
  }
  const [n1, , n3] = devices
  t.equal(await n3!.flush(), 0)
  t.equal(await n1!.write(BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES, 90), true), 0, 'forced')
  const { log, primary } = hosts[0]!.worker.copies.copy(spec.id)!.state
  t.equal(log.durableSeq, log.tail, 'on the disk of the primary')
  const others = [...primary!.peers.values()].map(({ durableSeq }) => durableSeq)
  t.same(others, [log.tail, log.tail], 'and of the others, when a forced write is answered')
}

for (const durability of ['durable', 'writeback'] as const) {
  t.test(`writes through any node are everywhere, ${durability}`, (t) => testEverywhere(t, durability))
}
