/**
 * A volume of three nodes as real processes gets snapshots by a schedule: one at once, and one at the next full minute
 * although the node that makes them is killed before it. What was made by hand stays, and all is shown. The clocks of
 * all of them are ahead by as much as makes the next full minute come soon after that.
 */
// test-timeout-seconds: 240
import path from 'node:path'
import t from 'tap'
import type { Snapshot } from '../../cluster/api/snapshot-messages.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { until } from './until.ts'

/** After the nodes' start: the first snapshot is there by then, and who made it is dead. Else it takes a minute. */
const FULL_MINUTE_AFTER_MS = 15_000
const MINUTE_MS = 60_000
const SCHEDULED = /^scheduled-\d{8}-\d{4}00$/

t.test('one at once, the next at its time, whoever is killed', async (t) => {
  const ofMinuteMs = (Date.now() + FULL_MINUTE_AFTER_MS) % MINUTE_MS
  const env = {
    CLOCK_AHEAD_MS: String(MINUTE_MS - ofMinuteMs),
    NODE_OPTIONS: `--import ${path.join(import.meta.dirname, 'clock-ahead.ts')}`,
  }
  const cluster = await ClusterOfDaemons.make(t, { setUp: () => ({ env }) })
  await cluster.start()
  const api = (name: string) => cluster.api(name)
  await until(() => api('n1').listNodes(), ({ nodes }) => nodes.every(({ disks }) => disks.length === 1))
  const say = async (node: string, ...words: string[]) => {
    const { code, stdout, stderr } = await holdfast([...words, '--endpoint', cluster.node(node).paths.api], { env })
    return code === 0 ? stdout : `${code}: ${stderr}`
  }
  const create = ['volume', 'create', 'data', '--size', '16Mi', '--snapshot-schedule', 'every 1m keep-last 5']
  t.match(await say('n1', ...create), /volume data is ready/)
  const listed = async (node: string): Promise<Snapshot[]> =>
    (await api(node).listSnapshots({ volume: 'data', limit: 0, after: '' })).snapshots
  const [first] = await until(() => listed('n1'), ({ length }) => length > 0)
  t.match(first, { name: SCHEDULED, labels: { 'holdfast.io/scheduled-at-ms': /^\d+$/ } })
  await api('n1').createSnapshot({ volume: 'data', name: 'by-hand', labels: {}, id: '' })

  const elected = await cluster.elected()
  await cluster.node(elected).killNode()
  const user = ['n1', 'n2', 'n3'].find((name) => name !== elected)!
  const isNext = ({ name }: Snapshot) => SCHEDULED.test(name) && name > first!.name
  const found = await until(() => listed(user).catch(() => []), (some) => some.some(isNext))
  const names = found.map(({ name }) => name)
  t.equal(new Set(names).size, names.length, names.join(', '))
  t.ok(names.includes('by-hand') && names.includes(first!.name), 'nothing is deleted before it is too old')

  const shown = await until(() => api(user).getVolume({ name: 'data' }), (volume) => isNext(newestOf(volume)))
  t.equal(shown.snapshotSchedule, 'every 1m keep-last 5')
  const inspected = await say(user, 'volume', 'inspect', 'data')
  t.match(inspected, /snapshots +\d+, the newest is scheduled-\d{8}-\d{6}, made \d+s ago\n/)
  t.match(await say(user, 'status'), /\nsnapshots: \d+, the newest made \d+s ago\n/)
  const pruned = await say(user, 'snapshot', 'schedule', 'data', 'every', '1h', 'keep-last', '1')
  t.equal(pruned, 'volume data gets snapshots by itself: every 1h keep-last 1\n')
  t.match(await say(user, 'snapshot', 'schedule', 'data', 'none'), /gets no snapshots by itself any more/)
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
})

const newestOf = ({ newestSnapshot: name }: Volume): Snapshot => ({ name }) as Snapshot
