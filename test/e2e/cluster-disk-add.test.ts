/**
 * Risk: a disk that is added to a node of a cluster while it runs is not used, or forgotten at the next start. Two
 * nodes as processes; one gets a second disk with a tag of its own, a volume that asks for the tag lies there, and both
 * are still there after the host died.
 */
// test-timeout-seconds: 120
import path from 'node:path'
import t from 'tap'
import { NbdConnection, READ, WRITE } from '../../cli/load/nbd-connection.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

for (const workers of [1, 2]) t.test(`a disk is added, used, there after a start: ${workers} workers`, async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1', 'n2'], workers })
  await cluster.start()
  const api = (name: string) => cluster.api(name)
  const second = path.join(cluster.dir, 'second')
  const wish = { path: second, sizeBytes: 320 * MIB, pool: 'default', tags: ['fast'] }
  t.match(await api('n2').addDisk(wish), { path: second, node: 'n2', state: 'online', tags: ['fast'] })
  await t.rejects(api('n2').addDisk(wish), { code: 'disk-busy' }, 'once')
  await t.rejects(api('n2').addDisk({ ...wish, path: `${second}2`, sizeBytes: 4096 }), { code: 'disk-too-small' })

  const disksOf = async (name: string): Promise<string[]> =>
    (await api('n1').listDisks()).disks.filter((disk) => disk.node === name).map((disk) => disk.path)
  while ((await disksOf('n2')).length < 2) await sleep(100)
  const parameters = { replicas: '0', 'disk-tags': 'fast' }
  const { id, copies } = await api('n1').createVolume({ name: 'fast', sizeBytes: 16 * MIB, parameters })
  t.same(copies.map(({ node }) => node), ['n2'], 'where the tag is')
  const block = Buffer.alloc(4096, 'fast')
  const client = (await NbdConnection.open(cluster.node('n1').paths.nbd, 'fast', true))!
  t.match(await client.ask({ type: WRITE, offset: 4096, data: block }), { errno: 0 })
  await client.disconnect()

  await cluster.node('n2').killNode()
  await cluster.node('n2').start()
  t.equal((await cluster.config(id)).primary, 'n2')
  const again = (await NbdConnection.open(cluster.node('n1').paths.nbd, 'fast', true))!
  t.match(await again.ask({ type: READ, offset: 4096, length: 4096 }), { errno: 0, data: block })
  await again.disconnect()
  while ((await disksOf('n2')).length < 2) await sleep(100)
  t.same((await disksOf('n2')).includes(second), true)
})
