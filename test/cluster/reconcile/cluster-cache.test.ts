/**
 * What the planner knows of the cluster store. Risk: a record that it is not told of, because its key is taken for one
 * that does not concern it; and the other way round, an idle cluster that is told of every heartbeat.
 */
import t from 'tap'
import { BEAT_PREFIX, beatKey } from '../../../cluster/membership/beat-body.ts'
import { BEHIND_BEATS, ClusterCache } from '../../../cluster/reconcile/cluster-cache.ts'
import { AGE_KEY, encodeAge } from '../../../cluster/store/cluster-age.ts'
import type { ClusterStore, WatchEvent } from '../../../cluster/store/cluster-store.ts'
import { DISK_WISH_PREFIX } from '../../../cluster/store/disk-wishes.ts'
import { NODE_PREFIX } from '../../../cluster/store/node-records.ts'
import { encodeNodeWish, NODE_WISH_PREFIX, nodeWishKey } from '../../../cluster/store/node-wishes.ts'
import { REBUILDS_KEY } from '../../../cluster/store/rebuild-records.ts'
import { CONFIG_PREFIX } from '../../../cluster/store/volume-configs.ts'
import { MOVE_PREFIX } from '../../../cluster/store/volume-moves.ts'
import { VOLUME_PREFIX } from '../../../cluster/store/volume-records.ts'
import { newCluster } from '../../../engine/control/cluster.ts'
import { storeInProcess } from '../store-in-process.ts'

t.test('all records lie behind the heartbeats', async (t) => {
  const records = [
    AGE_KEY, DISK_WISH_PREFIX, NODE_PREFIX, NODE_WISH_PREFIX, REBUILDS_KEY, CONFIG_PREFIX, MOVE_PREFIX, VOLUME_PREFIX,
  ]
  for (const key of records) t.ok(key > BEHIND_BEATS, key)
  t.ok(beatKey('~') < BEHIND_BEATS && BEAT_PREFIX < BEHIND_BEATS)
})

t.test('records are told as they change, heartbeats are not', async (t) => {
  const store = (await storeInProcess(t)).client()
  const put = async (key: string, value: Uint8Array) => {
    const found = await store.get(key)
    if (!found.ok) throw found.error
    t.match(await store.compareAndSwap({ key, version: found.value?.version, value }), { outcome: 'won' })
  }
  await put(nodeWishKey('n1'), encodeNodeWish({ isCordoned: true, isDraining: false }))
  await put(beatKey('n1'), Buffer.from('1'))
  const cluster = newCluster(0)
  const told: string[] = []
  const events: WatchEvent[] = []
  const seen = Promise.withResolvers<void>()
  const watched: ClusterStore = {
    get: (key) => store.get(key),
    list: (options) => store.list(options),
    compareAndSwap: (change) => store.compareAndSwap(change),
    watch: (options, listener) => store.watch(options, (event) => {
      events.push(event)
      listener(event)
    }),
    known: () => store.known(),
    close: () => store.close(),
  }
  const cache = new ClusterCache({
    store: watched,
    cluster,
    nowMs: () => 0,
    onChange: (key) => {
      told.push(key)
      if (key === AGE_KEY) seen.resolve()
    },
    onProblem: (error) => seen.reject(error),
  })
  while (!cache.isComplete) await new Promise((resolve) => setImmediate(resolve))
  t.equal(cluster.nodes.get('n1')?.wish.isCordoned, true)
  for (let beat = 2; beat < 10; beat++) await put(beatKey('n1'), Buffer.from(`${beat}`))
  await put(AGE_KEY, encodeAge(7000))
  await seen.promise
  cache.close()
  t.equal(cluster.ageMs, 7000)
  t.same(told, [nodeWishKey('n1'), '', AGE_KEY])
  t.equal(events.length, 1, 'nothing came for a heartbeat')
})
