/**
 * Suite `volume`: IOPS, MB/s, latency and processor time of our volumes and of other NBD servers, with fio. In each
 * round every case runs on every server, one behind the other, beginning with another server each time; before each
 * run everything dirty is written out, so that nobody pays for the one before.
 */
import { spawnSync } from 'node:child_process'
import { CASES, runFio, caseWords, type FioCase } from './fio.ts'
import type { FioReport } from './fio-report.ts'
import type { Goal } from './goal.ts'
import { startServers, type Server } from './peers.ts'
import { ratios, spread } from './ratio.ts'
import { pause } from './scratch.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

export interface Sample extends FioReport {
  /** Processor seconds of the server for a million operations. */
  cpuPerMillion: number | undefined
}

/** case -> server -> a sample for each round */
export type Samples = Map<string, Map<string, Array<Sample | undefined>>>

type Metric = 'iops' | 'bytesPerSecond' | 'latencyMeanUs'

interface RatioGoal {
  name: string
  one: string
  metric: Metric
  ours: string
  theirs: string
  compare: 'least' | 'most'
  limit: number
}

const GOALS: readonly RatioGoal[] = [
  {
    name: 'durable 4k randwrite QD32 : qemu-nbd writethrough',
    one: '4k randwrite QD32', metric: 'iops', ours: 'durable', theirs: 'qemu-wt', compare: 'least', limit: 4,
  },
  {
    name: 'durable 4k randwrite QD1, mean latency : fio psync write + fdatasync',
    one: '4k randwrite QD1', metric: 'latencyMeanUs', ours: 'durable', theirs: 'psync', compare: 'most', limit: 1.5,
  },
  {
    name: 'durable 128k write QD8 : qemu-nbd writethrough',
    one: '128k write QD8', metric: 'iops', ours: 'durable', theirs: 'qemu-wt', compare: 'least', limit: 1,
  },
  {
    name: 'writeback 4k randwrite QD32 : qemu-nbd writeback',
    one: '4k randwrite QD32', metric: 'iops', ours: 'writeback', theirs: 'qemu-wb', compare: 'least', limit: 1.5,
  },
  {
    name: 'writeback 128k write QD8 : qemu-nbd writeback',
    one: '128k write QD8', metric: 'iops', ours: 'writeback', theirs: 'qemu-wb', compare: 'least', limit: 1,
  },
  {
    name: '4k randread QD32 : qemu-nbd writeback',
    one: '4k randread QD32', metric: 'iops', ours: 'durable', theirs: 'qemu-wb', compare: 'least', limit: 2,
  },
  {
    name: '128k read QD8 : qemu-nbd writeback',
    one: '128k read QD8', metric: 'iops', ours: 'durable', theirs: 'qemu-wb', compare: 'least', limit: 1,
  },
]

const SIZE_BYTES = 2 ** 30
const SETTLE_MS = 300

export async function measureThroughput(context: SuiteContext): Promise<SuiteOutcome> {
  const { scratch, print, rounds, seconds } = context
  print(`filling volumes and files of ${SIZE_BYTES / 2 ** 30} GiB`)
  const { servers, absent } = await startServers(scratch, SIZE_BYTES)
  for (const reason of absent) print(`left out: ${reason}`)
  const samples: Samples = new Map()
  for (let round = 0; round < rounds; round++) {
    for (const one of CASES) {
      const takers = servers.filter((server) => server.takes(one))
      for (let i = 0; i < takers.length; i++) {
        const server = takers[(i + round) % takers.length]!
        const sample = await measureOne(context, server, one, seconds)
        const byServer = samples.get(one.name) ?? new Map<string, Array<Sample | undefined>>()
        samples.set(one.name, byServer)
        const perRound = byServer.get(server.name) ?? []
        byServer.set(server.name, perRound)
        perRound[round] = sample
        print(`round ${round + 1}  ${one.name.padEnd(20)}${server.name.padEnd(11)}${shortly(sample)}`)
      }
    }
  }
  const goals = GOALS.map((goal) => judge(goal, samples, absent))
  const notes = [
    `${rounds} rounds of ${seconds} s each, volumes and files of 1 GiB, fio and server on the same machine.`,
    ...absent.map((reason) => `Left out: ${reason}.`),
  ]
  return { goals, text: [notes.join(' '), '', samplesTable(samples)].join('\n') }
}

async function measureOne(
  { scratch }: SuiteContext,
  server: Server,
  one: FioCase,
  seconds: number,
): Promise<Sample> {
  spawnSync('sync', ['-f', scratch.dir])
  await pause(SETTLE_MS)
  const before = server.cpuSeconds?.()
  const report = await runFio(scratch, server.target, caseWords(one, SIZE_BYTES, seconds))
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

function samplesTable(samples: Samples): string {
  const lines = [
    'Medians of the rounds; `:` is the median (least to most) of the ratios of IOPS to that server, round by round.',
    '',
    '| case | server | IOPS | MB/s | mean us | p50 us | p99 us | CPU s per million ' +
      '| : qemu-wt | : qemu-wb | : nbdkit |',
    '|---|---|---|---|---|---|---|---|---|---|---|',
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
      const to = ['qemu-wt', 'qemu-wb', 'nbdkit'].map((other) => {
        if (server !== 'durable' && server !== 'writeback') return ''
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
