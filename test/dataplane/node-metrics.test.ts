/** Alive and ready as a daemon says it: while it starts, with a worker that is silent, without disks that work. */
import t from 'tap'
import type { DiskFigures, WorkerFigures } from '../../cluster/metrics/figures.ts'
import { NodeMetrics } from '../../dataplane/node-metrics.ts'

const NOTHING: WorkerFigures = { attachments: [], copies: [], disks: [] }
const disk = (change: Partial<DiskFigures>): DiskFigures => ({
  uuid: 'u', path: '/d', pool: 'default', isOnline: true, isSuspect: false, capacityBytes: 100, freeBytes: 60,
  reclaimableBytes: 3,
  checksumErrors: 1, sync: { counts: [1, 2], sumMs: 5 }, ...change,
})
const worker = (figures: WorkerFigures) => ({ figures: async () => figures, ping: async () => undefined })
const silent = { figures: () => new Promise<never>(() => {}), ping: () => new Promise<never>(() => {}) }
const facts = { node: 'n1', version: '1', instance: 'i', answerMs: 20 }

t.test('from the start to the stop', async (t) => {
  const metrics = new NodeMetrics({ ...facts, store: 'http://127.0.0.1:1' })
  const isReady = async () => (await metrics.ready()).every(({ ok }) => ok)
  t.match(await metrics.live(), [{ ok: true, words: 'it is starting' }])
  t.match(await metrics.ready(), [{ ok: false, words: /waiting for http/ }, { ok: false }, { ok: false }])
  t.equal((await metrics.figures()).isStoreReachable, false)
  metrics.joined()
  t.notOk(await isReady())
  metrics.opened([worker({ ...NOTHING, disks: [disk({})] })])
  t.notOk(await isReady())
  metrics.serving()
  t.ok(await isReady())
  metrics.isStoreReachable = false
  t.ok(await isReady(), 'a store that went away is a matter for alerts')
  metrics.stopping()
  t.notOk(await isReady())
})

t.test('a worker that does not answer', async (t) => {
  const metrics = new NodeMetrics({ ...facts, store: undefined })
  metrics.opened([worker(NOTHING), silent])
  metrics.serving()
  t.match(await metrics.live(), [{ ok: true }, { ok: false, words: /^data worker 1 of node n1 has not answered for/ }])
  t.match(await metrics.ready(), [{ name: 'disks', ok: false }, { ok: true }])
  await t.rejects(metrics.figures(), { code: 'worker-silent' })
})

t.test('disks that workers share are added up; none that works is not ready', async (t) => {
  const metrics = new NodeMetrics({ ...facts, store: undefined })
  metrics.opened([
    worker({ ...NOTHING, disks: [disk({})] }),
    worker({ ...NOTHING, disks: [disk({ freeBytes: 90, isOnline: false }), disk({ uuid: 'v', isOnline: false })] }),
  ])
  t.match((await metrics.figures()).disks, [
    { uuid: 'u', isOnline: false, freeBytes: 50, reclaimableBytes: 6, checksumErrors: 2,
      sync: { counts: [2, 4], sumMs: 10 } },
    { uuid: 'v' },
  ])
  t.match((await metrics.ready())[0], { ok: false, words: '0 of 2 work' })
})
