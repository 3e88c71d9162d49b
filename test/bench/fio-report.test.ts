/** fio's reports: the notes before the JSON, both directions, syncs, and every way in which a run has failed. */
import t from 'tap'
import { parseFioReport } from '../../bench/volume/fio-report.ts'

const latency = (mean: number, p50: number, p99: number) =>
  ({ N: 10, mean, percentile: { '50.000000': p50, '99.000000': p99 } })
const none = { total_ios: 0, runtime: 0, iops: 0, bw_bytes: 0, lat_ns: { N: 0, mean: 0 } }
const some = { total_ios: 4000, runtime: 2000, iops: 2000, bw_bytes: 8_192_000, lat_ns: latency(500_000, 4e5, 9e5) }

const report = (job: object, before = ''): string =>
  `${before}${JSON.stringify({ 'fio version': 'fio-3.33', jobs: [job] })}`

t.test('notes before the report are skipped', async (t) => {
  const parsed = parseFioReport(report({ error: 0, read: none, write: some }, 'note: both iodepth >= 1 and ...\n'))
  t.match(parsed, { operations: 4000, seconds: 2, iops: 2000, bytesPerSecond: 8_192_000 })
  t.match(parsed, { latencyMeanUs: 500, p50Us: 400, p99Us: 900, writes: 4000, reads: 0 })
})

t.test('operations are those of both directions, latency is of the one that did more', async (t) => {
  const write = { ...some, total_ios: 5, iops: 1, bw_bytes: 100, lat_ns: latency(1e9, 1e9, 1e9) }
  const parsed = parseFioReport(report({ error: 0, read: some, write }))
  t.match(parsed, { operations: 4005, iops: 2001, bytesPerSecond: 8_192_100, writes: 5, reads: 4000 })
  t.match(parsed, { latencyMeanUs: 500, p99Us: 900 })
})

t.test('the sync behind every write is part of its latency, though fio counts no operation of it', async (t) => {
  const sync = { total_ios: 0, lat_ns: latency(250_000, 2e5, 8e5) }
  const write = { ...some, lat_ns: latency(10_000, 6e3, 5e4) }
  t.match(parseFioReport(report({ error: 0, write, sync })), { latencyMeanUs: 260, p50Us: 206, p99Us: 850 })
  const noSync = { total_ios: 0, lat_ns: { N: 0, mean: 0 } }
  t.match(parseFioReport(report({ error: 0, write, sync: noSync })), { latencyMeanUs: 10 })
})

t.test('a percentile that is not there is no zero', async (t) => {
  const write = { ...some, lat_ns: { N: 10, mean: 1000 } }
  t.ok(Number.isNaN(parseFioReport(report({ error: 0, write })).p99Us))
})

t.test('failures are errors in words', async (t) => {
  t.throws(() => parseFioReport('fio: engine nbd not loadable\n'), /no report: fio: engine nbd/)
  t.throws(() => parseFioReport(''), /nothing/)
  t.throws(() => parseFioReport('{"jobs": ['), /no JSON/)
  t.throws(() => parseFioReport('{"jobs": []}'), /no job/)
  t.throws(() => parseFioReport(report({ error: 5, write: some })), /error 5/)
  t.throws(() => parseFioReport(report({ error: 0, read: none, write: none })), /no operation/)
})
