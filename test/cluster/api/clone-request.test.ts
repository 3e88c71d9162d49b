/** Wished clones: all that is not said of how one behaves is as it is for its origin, and what is said is obeyed. */
import t from 'tap'
import { clonedVolumeOf } from '../../../cluster/api/clone-request.ts'
import { clusterVolumeOf } from '../../../cluster/api/volume-request.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import { GIB } from '../../../engine/units.ts'

const NODES = 4
const of = (parameters: Record<string, string>): VolumeRecord => {
  const request = { name: 'data', sizeBytes: GIB, parameters, labels: { app: 'db' } }
  return clusterVolumeOf(request, { id: '1'.repeat(32), nodes: NODES })
}

const cloned = (origin: VolumeRecord, parameters: Record<string, string> = {}, nodes = NODES): VolumeRecord => {
  const request = { name: 'trial', sizeBytes: GIB, parameters }
  return clonedVolumeOf(request, { id: '2'.repeat(32), nodes }, origin)
}

const ALL = {
  replicas: '3', durability: 'writeback', 'block-size': '512', 'on-full': 'error', 'io-timeout': '30s', pool: 'fast',
  'disk-tags': 'nvme,ssd', compression: 'lz4', 'read-check': 'confirm', 'qos-iops': '500', 'qos-bandwidth': '50Mi',
  'qos-burst': '10s', 'min-in-sync': '3', 'attach-mode': 'single', 'data-locality': 'best-effort',
}

t.test('what is not said is as it is for the origin', async (t) => {
  for (const parameters of [{}, ALL, { 'failure-mode': 'hard' }, { 'failure-mode': '1', 'io-timeout': '0' }]) {
    const { labels: _, ...origin } = of(parameters)
    t.same(cloned(of(parameters)), { ...origin, spec: { ...origin.spec, id: '2'.repeat(32), name: 'trial' } })
  }
})

t.test('what one volume is for is not', async (t) => {
  const origin = of({ 'snapshot-schedule': 'every 1h keep-last 3' })
  const { labels, snapshotSchedule, allowed } = cloned({ ...origin, allowed: { nodes: ['n1'], zones: [] } })
  t.same({ labels, snapshotSchedule, allowed }, { labels: undefined, snapshotSchedule: undefined, allowed: undefined })
})

t.test('what is said of it', async (t) => {
  const origin = of(ALL)
  const qos = (parameters: Record<string, string>) => cloned(origin, parameters).spec.qos
  t.match(qos({ 'qos-iops': '10' }), { iops: 10, bandwidthBytes: 50 * 2 ** 20, burstMs: 10_000 }, 'each for itself')
  t.match(qos({ 'qos-burst': '1s' }), { iops: 500, burstMs: 1000 })
  t.equal(qos({ 'qos-iops': 'none', 'qos-bandwidth': 'none' }), undefined)
  t.throws(() => cloned(of({}), { 'qos-burst': '1s' }), { code: 'parameter' })
  t.match(cloned(origin, { 'failure-mode': 'soft' }), { minInSync: 0, failureMode: 'soft' })
  t.equal(cloned(of({ 'failure-mode': 'soft' }), { 'min-in-sync': '1' }).failureMode, undefined)
  t.equal(cloned(origin, { replicas: '1' }).minInSync, 2, 'of fewer copies all')
  t.match(cloned(origin, { 'attach-mode': 'open', 'data-locality': 'disabled' }), { attachMode: 'open' })
  t.equal(cloned(origin, { 'data-locality': 'disabled' }).dataLocality, undefined)
  t.throws(() => cloned(origin, { pool: 'slow' }), { code: 'parameter', message: /fast, as what it is cloned from/ })
})

t.test('fewer nodes than the origin was made with', async (t) => {
  t.equal(cloned(of({ replicas: '3' }), {}, 2).spec.replicas, 1)
  const degraded = of({ replicas: '3', 'allow-degraded': 'true' })
  t.match(cloned(degraded, {}, 2), { allowDegraded: true, spec: { replicas: 3 } })
  t.match(cloned(degraded, { 'allow-degraded': 'false' }, 2), { allowDegraded: false, spec: { replicas: 1 } })
})
