/**
 * Snapshots of a volume of three nodes as real processes: made and deleted by commands, refused in a sentence, and made
 * one after the other under load while the node that leads is killed. What was answered is there, once, on every copy.
 */
// test-timeout-seconds: 300
import t from 'tap'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Snapshot } from '../../cluster/api/snapshot-messages.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons, randomNumber } from '../cluster/cluster-of-daemons.ts'
import { primaryOf, until } from './until.ts'

const listed = async (api: ControlClient): Promise<Snapshot[]> =>
  (await api.listSnapshots({ volume: 'data', limit: 0, after: '' })).snapshots

const { cluster, api, volume } = await served()

async function served() {
  const cluster = await ClusterOfDaemons.make(t)
  const volume = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB })
  await cluster.start()
  const api = (name: string) => cluster.api(name)
  await until(() => api('n1').getVolume({ name: 'data' }), ({ health }) => health === 'healthy')
  return { cluster, api, volume }
}

t.test('by commands: made, listed, counted, deleted, refused', async (t) => {
  const say = async (...words: string[]) => {
    const { code, stdout, stderr } = await holdfast([...words, '--endpoint', cluster.node('n2').paths.api])
    return code === 0 ? stdout : `${code}: ${stderr}`
  }
  t.match(await say('snapshot', 'create', 'data', 'one', '--label', 'app=db'), /snapshot one of volume data is made/)
  t.match(await say('snapshot', 'create', 'data', 'one', '--label', 'app=db'),
    /^snapshot one of volume data is there already, made 20\d\d-[-:\d ]+ UTC, at seq \d+\n$/)
  const again = await say('snapshot', 'create', 'data', 'one')
  const words = 'with labels app=db, not without labels'
  const there = new RegExp(
    `^1: holdfast: volume data has a snapshot one already ${words}, made 20[-:\\d ]+ UTC \\(id (\\w{32})\\); choose`)
  t.match(again, there)
  t.match(await say('snapshot', 'create', 'none', 'one'), /^1: holdfast: there is no volume "none"/)
  await api('n3').createSnapshot({ volume: 'data', name: 'two', labels: {}, id: '' })
  const table = await say('snapshot', 'ls', 'data')
  t.match(table, /^NAME +MADE \(UTC\) +SIZE +ALONE +SEQ +GROUP +LABELS\none /)
  t.match(table, /\none +20\d\d-[-:\d ]+ +16 MiB +- +\d+ +- +app=db\ntwo /)
  const json = JSON.parse(await say('snapshot', 'ls', 'data', '-o', 'json')) as Snapshot[]
  t.match(json, [
    { volume: 'data', name: 'one', sizeBytes: 16 * MIB, labels: { app: 'db' }, id: /^[0-9a-f]{32}$/ },
    { name: 'two', labels: {} },
  ])
  t.equal(json[0]!.id, there.exec(again)?.[1], 'the one that is there was named')
  t.ok(json[0]!.seq < json[1]!.seq)
  await until(() => api('n3').getVolume({ name: 'data' }), ({ snapshots }) => snapshots === 2)
  t.match(await say('volume', 'inspect', 'data'), /snapshots +2, the newest is two, /)
  const would = await say('snapshot', 'prune', 'data', '--keep-last', '1', '--dry-run')
  t.match(would, /^1 snapshot\(s\) of volume data would be deleted: one\n1 would be kept\n$/)
  const pruned = JSON.parse(await say('snapshot', 'prune', 'data', '--keep-daily', '1', '-o', 'json')) as object
  t.same(pruned, { volume: 'data', isDryRun: false, deleted: ['one'], kept: ['two'], inUse: [] })
  await api('n1').createSnapshot({ volume: 'data', name: 'one', labels: {}, id: '' })
  const deleted = await say('snapshot', 'delete', 'data', 'one', 'two')
  t.match(deleted, /snapshot one .* is deleted;[^]*snapshot two .* is deleted;/)
  const gone = await say('snapshot', 'delete', 'data', 'one')
  t.match(gone, /^1: holdfast: volume data has no snapshot "one"; `holdfast snapshot ls data` shows/)
  t.same(await listed(api('n1')), [])
})

t.test('under load, while the node that leads is killed: what was answered is there once, on every copy', async (t) => {
  const primary = primaryOf(await api('n1').getVolume({ name: 'data' }))
  const [user, other] = ['n1', 'n2', 'n3'].filter((name) => name !== primary) as [string, string]
  const client = new StampedClient({
    socketPath: cluster.node(user).paths.nbd, exportName: 'data', random: randomNumber, depth: 8,
  })
  t.teardown(() => client.close())
  await client.connected()
  client.start()
  await until(async () => client.counts.writes, (writes) => writes > 200)

  const made: Snapshot[] = []
  const unknown: string[] = []
  for (let number = 1; number <= 9; number++) {
    const name = `s${number}`
    const asked = api(number % 2 === 0 ? user : other).createSnapshot({ volume: 'data', name, labels: {}, id: '' })
    if (number === 4) await cluster.node(primary).killNode()
    try {
      made.push(await asked)
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'change-outcome') throw error
      unknown.push(name)
    }
    if (number % 3 === 0) {
      await api(user).deleteSnapshot({ volume: 'data', name: made.at(-1)!.name, id: '' })
      made.pop()
    }
  }
  t.comment(`${made.length} are made, of ${unknown.length} it is not known`)
  const answered = (found: Snapshot[]) => found.filter(({ name }) => !unknown.includes(name))
  t.same(answered(await listed(api(user))), made)

  await cluster.node(primary).start()
  await cluster.whole(volume.id)
  await client.pause()
  await client.verify()
  t.same(client.problems, [], `${client.counts.writes} writes, ${client.counts.reads} reads`)
  t.equal(client.counts.errors, 0)
  const found = await listed(api(user))
  for (const node of [primary, user, other]) {
    await until(async () => {
      const now = await api(node).getVolume({ name: 'data' })
      if (primaryOf(now) !== node) await api(node).moveVolume({ name: 'data', what: 'primary', to: node, from: '' })
      return primaryOf(now)
    }, (leads) => leads === node)
    t.same(await listed(api(node)), found, `the copy on ${node} has the same`)
  }
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
})
