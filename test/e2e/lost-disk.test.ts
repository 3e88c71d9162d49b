/**
 * Risk: a disk that is gone keeps a node from starting, and with it the copies on its other disks. A node with two
 * disks starts without the one: what lies on the other is served, what is lost is made anew there, clients notice
 * nothing, `status` and `disk ls` say which disk it is, and a new one in its place is taken.
 */
// test-timeout-seconds: 240
import { existsSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Disk } from '../../cluster/api/node-messages.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons, randomNumber } from '../cluster/cluster-of-daemons.ts'

const SIZE = 320 * MIB
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

t.test('a node starts without one of its disks', async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1', 'n2'], diskBytes: SIZE })
  await cluster.start()
  const n2 = cluster.node('n2')
  const api = (name: string) => cluster.api(name)
  const viaN1 = api('n1')
  const second = path.join(cluster.dir, 'second')
  await api('n2').addDisk({ path: second, sizeBytes: SIZE, pool: 'default', tags: ['spare'] })
  const disks = async () => (await viaN1.listDisks()).disks
  while ((await disks()).length < 3) await sleep(50)
  // Who was elected a moment ago knows nothing of a node before its first report.
  const known = async (isIt: (disk: Disk) => boolean): Promise<Disk> => {
    for (;;) {
      const disk = (await disks()).find((one) => one.path === second)
      if (disk !== undefined && isIt(disk)) return disk
      await sleep(50)
    }
  }
  const { uuid: lostUuid } = await known(() => true)

  const names = ['a', 'b', 'c', 'd']
  for (const name of names) await viaN1.createVolume({ name, sizeBytes: 16 * MIB, parameters: { replicas: '1' } })
  const explained = async (name: string) => JSON.stringify((await viaN1.explainVolume({ name })).copies)
  const onSecond: string[] = []
  for (const name of names) if ((await explained(name)).includes(second)) onSecond.push(name)
  t.equal(onSecond.length, 2, 'slices are spread over the disks of a node')
  const alone = { replicas: '0', 'disk-tags': 'spare' }
  await viaN1.createVolume({ name: 'alone', sizeBytes: 16 * MIB, parameters: alone })
  const clients = names.map((exportName) =>
    new StampedClient({ socketPath: cluster.node('n1').paths.nbd, exportName, random: randomNumber, depth: 2 }))
  t.teardown(() => clients.forEach((client) => client.close()))
  for (const client of clients) {
    await client.connected()
    client.start()
  }
  const allHealthy = async (): Promise<Volume[]> => {
    for (;;) {
      const volumes = (await viaN1.listVolumes()).volumes.filter(({ name }) => names.includes(name))
      if (volumes.every(({ health, copies }) => health === 'healthy' && copies.length === 2)) return volumes
      await sleep(100)
    }
  }
  await allHealthy()

  await n2.killNode()
  rmSync(second)
  await n2.start()
  // What the others know of it is what it reported last: of its former start, for a moment.
  await known(({ state }) => state === 'failed')
  await allHealthy()
  for (const name of names) t.notMatch(await explained(name), second, `${name} lies on the other disk`)
  const say = async (...words: string[]) => (await holdfast([...words, '--endpoint', n2.paths.api])).stdout
  t.match(await say('disk', 'ls'), new RegExp(`${second} .*failed: .*does not exist.* ${lostUuid}`))
  t.match(await say('status'), new RegExp(`disk ${second} of node n2: failed: .*\\n +next: .*replace it`))
  while ((await viaN1.getVolume({ name: 'alone' })).health !== 'faulted') await sleep(50)
  for (const words of [['create', 'alone', 'late'], ['ls', 'alone']]) {
    const refused = await holdfast(['snapshot', ...words, '--endpoint', n2.paths.api])
    const why = /^holdfast: volume alone has no primary that .*: no copy has all of it: n2 .*; nothing was changed; /
    t.match(refused, { code: 1, stdout: '', stderr: why }, 'of a volume that lost all its copies')
  }

  await n2.killNode()
  n2.config.disks.push({ path: second, sizeBytes: SIZE, pool: 'default', tags: ['spare'] })
  await n2.start()
  t.match(await known(() => true), { uuid: lostUuid, state: 'failed' })
  t.notOk(existsSync(second), 'a start makes no file where a disk is gone')
  await n2.killNode()
  writeFileSync(second, '')
  truncateSync(second, SIZE)
  await n2.start()
  t.match(await known(({ uuid }) => uuid !== lostUuid), { state: 'online' }, 'a new disk in its place')
  await allHealthy()
  for (const client of clients) {
    await client.pause()
    await client.verify()
    t.same([client.problems, client.counts.errors], [[], 0], `${client.counts.writes} writes`)
    client.close()
  }
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})
