/** Figures as a page: buckets are cumulative and in seconds, labels are escaped, no sample comes twice. */
import t from 'tap'
import { NEVER_SCRUBBED } from '../../../engine/control/node-status.ts'
import { LATENCY_BOUNDS_MS } from '../../../cluster/metrics/figures.ts'
import type { CopyFigures, LatencyFigures } from '../../../cluster/metrics/figures.ts'
import { METRICS } from '../../../cluster/metrics/metric-table.ts'
import type { NodeFigures } from '../../../cluster/metrics/node-figures.ts'
import { MetricsPage } from '../../../cluster/metrics/registry.ts'
import { Scrape } from '../../e2e/scrape.ts'

const latency = (counts: Record<number, number> = {}, sumMs = 0): LatencyFigures =>
  ({ counts: Array.from({ length: LATENCY_BOUNDS_MS.length + 1 }, (_, i) => counts[i] ?? 0), sumMs })

const copy = (change: Partial<CopyFigures>): CopyFigures => ({
  volumeId: 'a', volume: 'data', role: 'replica', isLeading: false, epoch: 3, epochChanges: 1, members: 3, inSync: 2,
  lagBytes: 0, usage: { storedBytes: 4096, logicalBytes: 12_288 }, scrubs: NEVER_SCRUBBED, sharedSlices: 0,
  append: latency(), replicate: latency(), commit: latency(), ...change,
})

const node: NodeFigures = {
  node: 'n1', version: '1', instance: 'i', startedAtMs: 2000, residentBytes: 5, cpuSeconds: 1.5,
  isStoreReachable: undefined, certificateExpiresAtMs: 1_700_000_000_000, auditFailures: 0, attachments: [], copies: [],
  disks: [{
    uuid: 'u', path: '/a "quoted"\\path', pool: 'default', isOnline: true, isSuspect: false, capacityBytes: 9,
    freeBytes: 8,
    reclaimableBytes: 7, checksumErrors: 6, sync: latency({ 0: 2, 2: 1, [LATENCY_BOUNDS_MS.length]: 4 }, 250_000),
  }],
}

t.test('a histogram', async (t) => {
  const page = await new MetricsPage(METRICS).of(node)
  const buckets = [...page.matchAll(/^holdfast_disk_fsync_seconds_bucket\{le="([^"]+)",.*\} (\d+)$/gm)]
    .map(([, bound, count]) => [bound, Number(count)])
  t.equal(buckets.length, LATENCY_BOUNDS_MS.length + 1)
  t.same(buckets.slice(0, 4), [['0.0001', 2], ['0.00025', 2], ['0.0005', 3], ['0.001', 3]])
  t.same(buckets.slice(-2), [['30', 3], ['+Inf', 7]])
  t.match(page, /^holdfast_disk_fsync_seconds_sum\{.*\} 250$/m)
  t.match(page, /^holdfast_disk_fsync_seconds_count\{.*\} 7$/m)
  t.match(page, 'path="/a \\"quoted\\"\\\\path"')
  t.notMatch(page, /^holdfast_store_reachable /m, 'a node by itself has none')
  t.match(page, /^holdfast_tls_certificate_expiry_time_seconds 1700000000$/m)
})

t.test('copies: who leads tells of the set, a volume in the trash has the name of another', async (t) => {
  const led = copy({ isLeading: true, volumeId: 'b', commit: latency({ 1: 5 }, 1) })
  const scrape = new Scrape(await new MetricsPage(METRICS).of({ ...node, copies: [copy({}), led] }))
  t.equal(scrape.value('holdfast_volume_in_sync_copies', { volume: 'data', volume_id: 'b' }), 2)
  t.equal(scrape.value('holdfast_volume_in_sync_copies', { volume: 'data', volume_id: 'a' }), undefined)
  t.equal(scrape.value('holdfast_copy_leads', { volume: 'data', volume_id: 'a' }), 0)
  const used = (form: string) => scrape.value('holdfast_copy_used_bytes', { volume: 'data', volume_id: 'a', form })
  t.same([used('logical'), used('stored')], [12_288, 4096])
  const commit = { volume: 'data', volume_id: 'b', phase: 'commit' }
  t.equal(scrape.value('holdfast_volume_phase_seconds_count', commit), 5)
  t.equal(scrape.value('holdfast_volume_phase_seconds_count', { ...commit, volume_id: 'a' }), undefined)
})
