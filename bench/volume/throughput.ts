/** Suite `volume`: IOPS, MB/s, latency and processor time of our volumes and of other NBD servers, with fio. */
import { compareServers, judge, samplesTable } from './comparison.ts'
import type { RatioGoal } from './comparison.ts'
import { CASES } from './fio.ts'
import { startServers } from './peers.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

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

export async function measureThroughput(context: SuiteContext): Promise<SuiteOutcome> {
  const { scratch, print, rounds, seconds } = context
  print(`filling volumes and files of ${SIZE_BYTES / 2 ** 30} GiB`)
  const { servers, absent } = await startServers(scratch, SIZE_BYTES)
  for (const reason of absent) print(`left out: ${reason}`)
  const samples = await compareServers(context, servers, CASES, SIZE_BYTES)
  const goals = GOALS.map((goal) => judge(goal, samples, absent))
  const notes = [
    `${rounds} rounds of ${seconds} s each, volumes and files of 1 GiB, fio and server on the same machine.`,
    ...absent.map((reason) => `Left out: ${reason}.`),
  ]
  const table = samplesTable(samples, ['durable', 'writeback'], ['qemu-wt', 'qemu-wb', 'nbdkit'])
  return { goals, text: [notes.join(' '), '', table].join('\n') }
}
