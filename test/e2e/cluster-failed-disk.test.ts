/**
 * Risk: one failing disk of a node takes copies on its other disks, or keeps the node from having them again until it
 * is started anew. EIO is injected into a sync of one of two disks of a node of a cluster, under volumes that lie on
 * the one, on the other and, in `writeback`, on both: clients notice nothing, the other disk goes on, copies that had
 * data on the failed one are made anew beside it, and `status` and `explain` say which disk it is.
 */
// test-timeout-seconds: 240
import path from 'node:path'
import t from 'tap'
import { connectControlApi } from '../../cluster/api/client.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons, randomNumber } from '../cluster/cluster-of-daemons.ts'
import { inject, straceMissing } from '../nemesis/system-call-faults.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

t.test('a sync of one of two disks fails', { skip: straceMissing() ?? false }, async (t) => {
  const dir = temporaryFolder(t)
  const diskOf = (name: string, tag: string) => path.join(dir, `${name}.${tag}`)
  const sizeBytes = 1024 * MIB
  const setUp = (name: string) => ({
    change: {
      // One disk has room for all.
      disks: ['a', 'b'].map((tag) => ({ path: diskOf(name, tag), sizeBytes, pool: 'default', tags: [tag] })),
    },
  })
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1', 'n2'], dir, setUp })
  await cluster.start()
  const [, n2] = cluster.nodes as [unknown, (typeof cluster.nodes)[number]]
  const api = connectControlApi({ socketPath: cluster.node('n1').paths.api, source: 'the test' })
  t.teardown(() => api.close())
  while ((await api.listDisks()).disks.length < 4) await sleep(50)
  const wished: Array<[name: string, sizeBytes: number, parameters: Record<string, string>]> = [
    ['on-a', 16 * MIB, { 'disk-tags': 'a' }],
    ['wide', 1040 * MIB, { durability: 'writeback' }],
    ['any', 16 * MIB, {}],
    ['some', 16 * MIB, {}],
  ]
  for (const [name, sizeBytes, more] of wished) {
    await api.createVolume({ name, sizeBytes, parameters: { replicas: '1', ...more } })
  }
  const view = (name: string): Promise<Volume> => api.getVolume({ name })
  const until = async (name: string, isSo: (volume: Volume) => boolean): Promise<Volume> => {
    for (;;) {
      const volume = await view(name)
      if (isSo(volume)) return volume
      await sleep(50)
    }
  }
  const isWhole = ({ health, copies }: Volume) => health === 'healthy' && copies.length === 2
  const names = wished.map(([name]) => name)
  for (const name of names) await until(name, isWhole)
  const explained = async (name: string) =>
    (await api.explainVolume({ name })).copies.find(({ node }) => node === 'n2')?.reasons.join('; ') ?? ''
  t.match(await explained('wide'), /n2\.a.*n2\.b/, 'it lies on both')
  const clients = names.map((exportName) =>
    new StampedClient({ socketPath: n2.paths.nbd, exportName, random: randomNumber, depth: 4 }))
  t.teardown(() => clients.forEach((client) => client.close()))
  for (const client of clients) {
    await client.connected()
    client.start()
  }
  for (const client of clients) while (client.counts.writes < 100) await sleep(20)

  const what = 'error=EIO:when=1'
  t.ok(await inject({ pid: n2.pid, file: diskOf('n2', 'b'), calls: 'fdatasync', what, forMs: 2000, folder: dir }) > 0)
  const failed = async () => (await api.listDisks()).disks.filter(({ state }) => state === 'failed')
  while ((await failed()).length === 0) await sleep(50)
  // Of its log, or of a segment zeroed for it: whichever the injected error met first.
  t.match((await holdfast(['status', '--endpoint', n2.paths.api])).stdout, /disk \S+n2\.b of node n2: failed: a sync/)
  for (const name of names) await until(name, isWhole)
  for (const name of names) {
    const words = await explained(name)
    t.match(words, /n2\.a/, `${name} lies on the other disk`)
    t.notMatch(words, /n2\.b/)
  }
  t.same((await failed()).map((disk) => disk.path), [diskOf('n2', 'b')], 'the other disk did not follow')
  for (const client of clients) {
    await client.pause()
    await client.verify()
    t.same([client.problems, client.counts.errors], [[], 0], `${client.counts.writes} writes`)
    client.close()
  }
  const daemons = n2.log().filter(({ message }) => message === 'ready')
  t.equal(daemons.length, 1, 'all without a start of its daemon')
  for (const node of cluster.nodes) await node.stop()
})
