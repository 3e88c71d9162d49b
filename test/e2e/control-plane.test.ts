/**
 * Three nodes as processes and the embedded cluster store: a volume is made through one of them, used through another,
 * grows, goes on without the node that led and decided, shrinks, is moved and thinned out by commands, deleted, brought
 * back and purged. Nobody makes a copy but the control plane.
 */
// test-timeout-seconds: 180
import t from 'tap'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { CONTROLLER_KEY } from '../../cluster/reconcile/election.ts'
import { decodeHeartbeat } from '../../cluster/store/heartbeats.ts'
import { volumeKey } from '../../cluster/store/volume-records.ts'
import { NBD_CMD_TRIM, NBD_CMD_WRITE } from '../../dataplane/nbd/protocol.ts'
import { NBD_ERRNO } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons, randomNumber } from '../cluster/cluster-of-daemons.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { until } from './until.ts'

t.test('a volume from its making to its end', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  await cluster.start()
  const api = (name: string) => cluster.api(name)
  const viaN2 = api('n2')
  await until(() => viaN2.listNodes(), ({ nodes }) =>
    nodes.length === 3 && nodes.every(({ disks }) => disks.length === 1))
  const parameters = { replicas: '2' }
  const made = await viaN2.createVolume({ name: 'data', sizeBytes: 16 * MIB, parameters })
  t.match(made, { health: 'healthy', healthReason: '', minInSync: 2, sizeBytes: 16 * MIB })
  t.same(made.copies.map(({ node }) => node).sort(), ['n1', 'n2', 'n3'])
  t.match(made.nbd, [new RegExp(`/data\\?socket=.*n2`)], 'where the node that was asked serves it')

  const elected = Buffer.from((await stored(cluster, CONTROLLER_KEY))!)
  const controller = (JSON.parse(decodeHeartbeat(elected)!.body) as { node: string }).node
  const user = ['n1', 'n2', 'n3'].find((name) => name !== controller)!
  const client = new StampedClient({
    socketPath: cluster.node(user).paths.nbd, exportName: 'data', random: randomNumber, depth: 8,
  })
  t.teardown(() => client.close())
  await client.connected()
  client.start()
  await until(async () => client.counts.writes, (writes) => writes > 200)
  const users = await until(() => api(user).getVolume({ name: 'data' }), ({ frontends }) => frontends.length > 0)
  t.match(users.frontends, [{ node: user }])
  await t.rejects(viaN2.deleteVolume({ name: 'data', force: false }), { code: 'volume-in-use' })

  const grown = await api(user).resizeVolume({ name: 'data', sizeBytes: 32 * MIB })
  t.equal(grown.sizeBytes, 32 * MIB)

  await cluster.node(controller).killNode()
  const writes = client.counts.writes
  await until(async () => client.counts.writes, (now) => now > writes + 200)
  const view = () => api(user).getVolume({ name: 'data' })
  const without = await until<Volume>(view, ({ health }) => health === 'degraded')
  t.notSame(without.copies.find(({ role }) => role === 'primary')?.node, controller, 'another one leads')
  const page = await until(() => api(user).status(), ({ nodes }) =>
    nodes.find(({ name }) => name === controller)!.state === 'down')
  t.notOk(page.nodes.find(({ name }) => name === user)!.safeToReboot, 'two copies are required, and left')
  t.ok(page.problems.some(({ what }) => what === 'volume data'), 'the page says what is wrong')

  await cluster.node(controller).start()
  await until<Volume>(view, ({ health }) => health === 'healthy')
  await client.pause()
  await client.verify()
  t.same(client.problems, [], `${client.counts.writes} writes, ${client.counts.reads} reads`)
  t.equal(client.counts.errors, 0)
  client.close()
  await until<Volume>(view, ({ frontends }) => frontends.length === 0)

  const say = async (...words: string[]) => {
    const { code, stdout, stderr } = await holdfast([...words, '--endpoint', cluster.node(user).paths.api])
    return code === 0 ? stdout : `${code}: ${stderr}`
  }
  const shrink = (...more: string[]) => say('volume', 'resize', 'data', '--size', '16Mi', ...more)
  t.match(await shrink(), /^1: .* volume data has 33554432 bytes; 16777216 would shrink it.* or add --force/)
  const raw = await RawClient.open(cluster.node(user).paths.nbd, { name: 'data' })
  t.teardown(() => raw.close())
  const beyond = { offset: 20 * MIB, length: 8192 }
  const write = async () => (await raw.ask({ type: NBD_CMD_WRITE, ...beyond, data: Buffer.alloc(8192, 7) })).errno
  t.equal(await write(), 0)
  const occupied = /^1: .* volume data does not shrink: 8192 bytes of data live beyond the new end; .*discard what/
  t.match(await shrink('--force'), occupied)
  t.equal((await view()).sizeBytes, 32 * MIB)
  t.equal((await raw.ask({ type: NBD_CMD_TRIM, ...beyond })).errno, 0)
  t.match(await shrink('--force'), /^volume data has 16 MiB \(16Mi\) now\n/)
  t.equal((await view()).sizeBytes, 16 * MIB)
  t.equal(await write(), NBD_ERRNO.ENOSPC, 'who was there before')
  raw.close()
  await until<Volume>(view, ({ frontends }) => frontends.length === 0)

  // One that is back is in sync a moment before it may lead.
  const placed = /n1 +(primary|replica) +n1 is in sync\n +(every other node has a copy|it stays)[^]*it lies on \//
  const explained = await until(() => say('explain', 'data'), (page) => placed.test(page))
  t.match(explained, /copies +3 of 3 that are wished have a place\nnext +nothing is waited for/)
  t.match(await say('volume', 'promote', 'data', '--to', controller), `the lead of volume data goes to ${controller}`)
  await until<Volume>(view, ({ copies }) => copies.some(({ node, role }) => node === controller && role === 'primary'))
  t.match(await say('volume', 'replicas', 'data', '1'), /is wished with 1 replicas/)
  await until<Volume>(view, ({ health, copies }) => health === 'healthy' && copies.length === 2)
  t.match(await say('volume', 'replicas', 'data', '3'), /^1: .*replicas 3 needs 4 nodes/)
  t.match(await say('node', 'cordon', 'n1'), /node n1 gets no new copies/)
  t.match(await say('node', 'ls'), /n1 +cordoned/)
  t.match(await say('node', 'uncordon', 'n1'), /may get new copies again/)
  t.match(await say('volume', 'delete', 'data'), /in the trash for 1h/)
  await t.rejects(view(), { code: 'volume-not-found' })
  t.match(await say('volume', 'restore', 'data'), /is back as it was/)
  await until<Volume>(view, ({ health }) => health === 'healthy')
  t.match(await say('volume', 'delete', 'data', '--purge'), /volume data is deleted/)
  await until(() => stored(cluster, volumeKey(made.id)), (record) => record === undefined)
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})

async function stored(cluster: ClusterOfDaemons, key: string): Promise<Uint8Array | undefined> {
  const read = await cluster.store.get(key)
  if (!read.ok) throw read.error
  return read.value?.value
}
