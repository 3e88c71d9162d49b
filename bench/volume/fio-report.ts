/**
 * What a run of fio says, taken from its JSON (`--output-format=json`). The text before the first `{` is skipped: fio
 * and its engines print notes there. Times are microseconds, rates per second.
 */
export interface FioReport {
  /** Of both directions, as the rates are. */
  operations: number
  /** How long the job ran. */
  seconds: number
  iops: number
  bytesPerSecond: number
  /** Of whole operations in the direction that did more; a write with a sync behind it is one with that. */
  latencyMeanUs: number
  p50Us: number
  p99Us: number
  p999Us: number
  /** A verifying job does both. */
  writes: number
  reads: number
}

interface Direction {
  total_ios?: number
  runtime?: number
  iops?: number
  bw_bytes?: number
  lat_ns?: Latency
}

interface Latency {
  N?: number
  mean?: number
  /** Present with `--lat_percentiles=1`. */
  percentile?: Record<string, number>
}

interface Job {
  error?: number
  read?: Direction
  write?: Direction
  sync?: { lat_ns?: Latency }
}

/** Throws with fio's own words when there is no report, the job failed, or it did nothing. */
export function parseFioReport(text: string): FioReport {
  const start = text.indexOf('{')
  if (start < 0) throw new Error(`fio printed no report: ${text.trim().slice(0, 300) || '(nothing)'}`)
  let jobs: Job[] | undefined
  try {
    jobs = (JSON.parse(text.slice(start)) as { jobs?: Job[] }).jobs
  } catch (error) {
    throw new Error(`fio's report is no JSON: ${(error as Error).message}`, { cause: error })
  }
  const job = jobs?.[0]
  if (job === undefined) throw new Error('fio reports no job')
  if (job.error !== undefined && job.error !== 0) throw new Error(`fio ended with error ${job.error}`)
  const direction = (job.write?.total_ios ?? 0) > (job.read?.total_ios ?? 0) ? job.write : job.read
  if (direction === undefined || (direction.total_ios ?? 0) === 0) throw new Error('fio did no operation')
  // A sync belongs to the write before it; adding percentiles is right as long as one of the two dwarfs the other.
  const parts = [direction.lat_ns, ...((job.sync?.lat_ns?.N ?? 0) > 0 ? [job.sync?.lat_ns] : [])]
  const sumUs = (of: (latency: Latency) => number | undefined): number =>
    parts.reduce((sum, latency) => sum + (of(latency ?? {}) ?? NaN) / 1000, 0)
  const sum = (of: 'total_ios' | 'iops' | 'bw_bytes'): number => (job.read?.[of] ?? 0) + (job.write?.[of] ?? 0)
  return {
    operations: sum('total_ios'),
    seconds: (direction.runtime ?? 0) / 1000,
    iops: sum('iops'),
    bytesPerSecond: sum('bw_bytes'),
    latencyMeanUs: sumUs(({ mean }) => mean),
    p50Us: sumUs(({ percentile }) => percentile?.['50.000000']),
    p99Us: sumUs(({ percentile }) => percentile?.['99.000000']),
    p999Us: sumUs(({ percentile }) => percentile?.['99.900000']),
    writes: job.write?.total_ios ?? 0,
    reads: job.read?.total_ios ?? 0,
  }
}
