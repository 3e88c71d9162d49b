/**
 * Servers compared with fio. In each round every case runs on every server, one behind the other, beginning with
 * another server each time; before each run everything dirty is written out, so that nobody pays for the one before.
 */
import { spawnSync } from 'node:child_process'
import { runFio, caseWords, type FioCase } from './fio.ts'
import type { FioReport } from './fio-report.ts'
import type { Goal } from './goal.ts'
import type { Server } from './peers.ts'
import { ratios, spread } from './ratio.ts'
import { pause } from './scratch.ts'
import type { SuiteContext } from './suite.ts'

export interface Sample extends FioReport {
  /** Processor seconds of the server for a million operations. */
  cpuPerMillion: number | undefined
}

/** case -> server -> a sample for each round */
export type Samples = Map<string, Map<string, Array<Sample | undefined>>>

type Metric = 'iops' | 'bytesPerSecond' | 'latencyMeanUs'

export interface RatioGoal {
  name: string
  one: string
  metric: Metric
  ours: string
  theirs: string
  compare: 'least' | 'most'
  limit: number
}

const SETTLE_MS = 300

/** @param sizeBytes  of each volume and file, from its beginning */
export async function compareServers(
  context: SuiteContext, servers: readonly Server[], cases: readonly FioCase[], sizeBytes: number,
): Promise<Samples> {
  const { print, rounds } = context
  const samples: Samples = new Map()
  for (let round = 0; round < rounds; round++) {
    for (const one of cases) {
      const takers = servers.filter((server) => server.takes(one))
      for (let i = 0; i < takers.length; i++) {
        const server = takers[(i + round) % takers.length]!
        const sample = await measureOne(context, server, one, sizeBytes)
        const byServer = samples.get(one.name) ?? new Map<string, Array<Sample | undefined>>()
        samples.set(one.name, byServer)
        const perRound = byServer.get(server.name) ?? []
        byServer.set(server.name, perRound)
        perRound[round] = sample
        print(`round ${round + 1}  ${one.name.padEnd(20)}${server.name.padEnd(11)}${shortly(sample)}`)
      }
    }
  }
  return samples
}

async function measureOne(
  { scratch, seconds }: SuiteContext,
  server: Server,
  one: FioCase,
  sizeBytes: number,
): Promise<Sample> {
  spawnSync('sync', ['-f', scratch.dir])
  await pause(SETTLE_MS)
  const before = server.cpuSeconds?.()
  const report = await runFio(scratch, server.target, caseWords(one, sizeBytes, seconds))
  const after = server.cpuSeconds?.()
  const cpuPerMillion =
    before === undefined || after === undefined ? undefined : ((after - before) / report.operations) * 1e6
  return { ...report, cpuPerMillion }
}

const shortly = (s: Sample): string =>
  `${Math.round(s.iops)} IOPS, mean ${s.latencyMeanUs.toFixed(0)} us` +
  (s.cpuPerMillion === undefined ? '' : `, ${s.cpuPerMillion.toFixed(0)} CPU s per million`)

function metricOf(samples: Samples, one: string, server: string, metric: Metric): Array<number | undefined> {
  return (samples.get(one)?.get(server) ?? []).map((sample) => sample?.[metric])
}

export function judge(goal: RatioGoal, samples: Samples, absent: readonly string[]): Goal {
  const { name, one, metric, ours, theirs, compare, limit } = goal
  const wanted = `${compare === 'least' ? '>=' : '<='} ${limit}x`
  const found = spread(ratios(metricOf(samples, one, ours, metric), metricOf(samples, one, theirs, metric)))
  if (Number.isNaN(found.median)) {
    const note = absent.find((reason) => reason.startsWith(`${theirs}:`)) ?? 'no round has both'
    return { name, wanted, measured: undefined, met: undefined, note }
  }
  const measured = `${found.median.toFixed(2)}x (${found.least.toFixed(2)} to ${found.most.toFixed(2)})`
  return { name, wanted, measured, met: compare === 'least' ? found.median >= limit : found.median <= limit }
}

/**
 * Medians of every case and server.
 * @param ours    servers that are compared
 * @param others  with whom: a column each
 */
export function samplesTable(samples: Samples, ours: readonly string[], others: readonly string[]): string {
  const lines = [
    'Medians of the rounds; `:` is the median (least to most) of the ratios of IOPS to that server, round by round.',
    '',
    `| case | server | IOPS | MB/s | mean us | p50 us | p99 us | CPU s per million | ${
      others.map((other) => `: ${other} |`).join(' ')}`,
    `|---|---|---|---|---|---|---|---|${'---|'.repeat(others.length)}`,
  ]
  for (const [one, byServer] of samples) {
    for (const [server, rounds] of byServer) {
      const known = rounds.filter((sample) => sample !== undefined)
      const median = (of: (sample: Sample) => number | undefined): number =>
        spread(known.map(of).filter((value) => value !== undefined)).median
      const figures = [
        Math.round(median((s) => s.iops)).toLocaleString('en-US'),
        Math.round(median((s) => s.bytesPerSecond) / 1e6).toLocaleString('en-US'),
        ...(['latencyMeanUs', 'p50Us', 'p99Us'] as const).map((metric) => median((s) => s[metric]).toFixed(0)),
        shown(median((s) => s.cpuPerMillion), (value) => value.toFixed(0)),
      ]
      const to = others.map((other) => {
        if (!ours.includes(server)) return ''
        const { median: middle, least, most } = spread(
          ratios(metricOf(samples, one, server, 'iops'), metricOf(samples, one, other, 'iops')),
        )
        return shown(middle, () => `${middle.toFixed(2)} (${least.toFixed(2)} to ${most.toFixed(2)})`)
      })
      lines.push(`| ${[one, server, ...figures, ...to].join(' | ')} |`)
    }
  }
  return lines.join('\n')
}

const shown = (value: number, format: (value: number) => string): string => (Number.isNaN(value) ? '' : format(value))
