/** What `compareServers` found, as a table of the results page. */
import { metricOf, type Sample, type Samples } from './comparison.ts'
import { ratios, spread } from './ratio.ts'

/**
 * Medians of every case and server.
 * @param ours    servers that are compared
 * @param others  with whom: a column each
 */
export function samplesTable(samples: Samples, ours: readonly string[], others: readonly string[]): string {
  const lines = [
    'Medians of the rounds; `:` is the median (least to most) of the ratios of IOPS to that server, round by round.',
    'Latency in us. CPU is processor seconds of the server for a million operations. Written is what reached the ' +
      'device until nothing was dirty, for each byte that fio wrote.',
    '',
    `| case | server | IOPS | MB/s | mean | p50 | p99 | p99.9 | CPU | written | ${
      others.map((other) => `: ${other} |`).join(' ')}`,
    `|---|---|---|---|---|---|---|---|---|---|${'---|'.repeat(others.length)}`,
  ]
  for (const [one, byServer] of samples) {
    for (const [server, rounds] of byServer) {
      const to = others.map((other) =>
        ours.includes(server) && server !== other ? ratioOf(samples, one, server, other) : '')
      lines.push(`| ${[one, server, ...figuresOf(rounds), ...to].join(' | ')} |`)
    }
  }
  return lines.join('\n')
}

function figuresOf(rounds: ReadonlyArray<Sample | undefined>): string[] {
  const known = rounds.filter((sample) => sample !== undefined)
  const median = (of: (sample: Sample) => number | undefined): number =>
    spread(known.map(of).filter((value) => value !== undefined)).median
  return [
    Math.round(median((s) => s.iops)).toLocaleString('en-US'),
    Math.round(median((s) => s.bytesPerSecond) / 1e6).toLocaleString('en-US'),
    ...(['latencyMeanUs', 'p50Us', 'p99Us', 'p999Us'] as const).map((metric) => median((s) => s[metric]).toFixed(0)),
    shown(median((s) => s.cpuPerMillion), 0),
    shown(median((s) => s.bytesPerByte), 2),
  ]
}

function ratioOf(samples: Samples, one: string, server: string, other: string): string {
  const { median, least, most } = spread(
    ratios(metricOf(samples, one, server, 'iops'), metricOf(samples, one, other, 'iops')),
  )
  return Number.isNaN(median) ? '' : `${median.toFixed(2)} (${least.toFixed(2)} to ${most.toFixed(2)})`
}

const shown = (value: number, digits: number): string => (Number.isNaN(value) ? '' : value.toFixed(digits))
