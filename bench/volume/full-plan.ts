/** The suite `full`: which servers each case is run on, and what is wanted of the ratios between them. */
import { CASES, VOLUMES_AT_ONCE, type FioCase } from './cases.ts'
import { CEPH_NAME } from './ceph.ts'
import type { Metric, RatioGoal } from './comparison.ts'
import { OUR_NAMES } from './our-volumes.ts'
import { PEER_NAMES, type Wanted } from './peers.ts'

/** Case -> servers. A case that goes through every server would take a day; what is here answers a question each. */
export const PLAN: Record<string, readonly string[]> = {
  '4k randwrite QD1': [
    'durable', 'writeback', 'remote', 'durable-enc', 'durable3', 'writeback3', 'remote3',
    'qemu-wt', 'qemu-wb', 'nbdkit', 'psync', 'ceph3',
  ],
  '4k randwrite QD32': [
    'durable', 'writeback', 'remote', 'durable-enc', 'durable3', 'writeback3', 'remote3', 'durable3-enc',
    'qemu-wt', 'qemu-wb', 'nbdkit', 'bare', 'ceph3',
  ],
  '4k randwrite QD128': [
    'durable', 'writeback', 'durable3', 'writeback3', 'qemu-wt', 'qemu-wb', 'nbdkit', 'bare', 'ceph3',
  ],
  '4k randread QD1': ['durable', 'remote', 'durable3', 'qemu-wb', 'nbdkit', 'bare'],
  '4k randread QD32': [
    'durable', 'remote', 'durable-enc', 'durable3', 'remote3', 'qemu-wb', 'nbdkit', 'bare', 'ceph3',
  ],
  '4k randread QD128': ['durable', 'durable3', 'qemu-wb', 'nbdkit', 'bare'],
  '128k write QD8': [
    'durable', 'writeback', 'durable-enc', 'durable3', 'writeback3', 'qemu-wt', 'qemu-wb', 'nbdkit', 'ceph3',
  ],
  '128k read QD8': ['writeback', 'durable3', 'qemu-wb', 'nbdkit', 'ceph3'],
  '1M write QD4': ['durable', 'writeback', 'durable3', 'qemu-wt', 'qemu-wb'],
  '1M read QD4': ['writeback', 'durable3', 'qemu-wb'],
  '4k 70/30 QD32': ['durable', 'writeback', 'durable3', 'qemu-wt', 'qemu-wb', 'ceph3'],
  '4k randwrite + flush QD1': ['writeback', 'writeback3', 'qemu-wb', 'nbdkit'],
  '4k randwrite 4xQD32': ['durable', 'durable3', 'qemu-wt'],
}

const LATENCIES: readonly Metric[] = ['latencyMeanUs', 'p999Us']
const METRIC_WORDS: Record<Metric, string> = {
  iops: '', bytesPerSecond: '', latencyMeanUs: ', mean latency', p999Us: ', p99.9 latency',
}

const goal = (one: string, ours: string, theirs: string, limit: number, metric: Metric = 'iops'): RatioGoal => ({
  name: `${one}${METRIC_WORDS[metric]}, ${ours} : ${theirs}`,
  one, metric, ours, theirs, compare: LATENCIES.includes(metric) ? 'most' : 'least', limit,
})

export const GOALS: readonly RatioGoal[] = [
  goal('4k randwrite QD32', 'durable', 'qemu-wt', 6),
  goal('4k randwrite QD128', 'durable', 'qemu-wt', 8),
  goal('4k randwrite QD32', 'writeback', 'qemu-wb', 2),
  goal('4k randread QD32', 'durable', 'qemu-wb', 2.5),
  goal('4k randread QD32', 'durable', 'nbdkit', 0.8),
  goal('4k randwrite QD32', 'durable3', 'qemu-wt', 4),
  goal('4k randwrite QD128', 'durable3', 'qemu-wt', 6),
  goal('4k randwrite QD32', 'durable3', CEPH_NAME, 5),
  goal('4k randwrite QD128', 'durable3', CEPH_NAME, 5),
  goal('4k randwrite QD32', 'writeback3', 'qemu-wb', 1),
  goal('4k randwrite QD1', 'durable', 'psync', 1.3, 'latencyMeanUs'),
  goal('4k randwrite QD1', 'durable3', 'psync', 2.5, 'latencyMeanUs'),
  goal('128k write QD8', 'writeback', 'qemu-wb', 1.2),
  goal('1M write QD4', 'writeback', 'qemu-wb', 1.2),
  goal('128k read QD8', 'writeback', 'qemu-wb', 1.2),
  goal('1M read QD4', 'writeback', 'qemu-wb', 1.2),
  goal('128k write QD8', 'durable3', 'qemu-wt', 1),
]

export const SERVER_NAMES: readonly string[] = [...OUR_NAMES, ...PEER_NAMES, CEPH_NAME]

export interface Selection {
  cases: FioCase[]
  /** With the case it is for; only servers that take one. */
  wanted: Wanted[]
  goals: RatioGoal[]
}

/**
 * What of the plan to run.
 * @param only  names of servers, and pieces of names of cases: of each kind all when there is none
 * @throws in words when one of them names nothing
 */
export function select(only: readonly string[], sizeBytes: number): Selection {
  const servers = only.filter((word) => SERVER_NAMES.includes(word))
  const pieces = only.filter((word) => !SERVER_NAMES.includes(word))
  for (const piece of pieces) {
    if (CASES.some(({ name }) => name.includes(piece))) continue
    const names = CASES.map(({ name }) => `'${name}'`).join(', ')
    throw new Error(`--only ${piece} is no server (${SERVER_NAMES.join(', ')}) and no part of a case (${names})`)
  }
  const takers = ({ name }: FioCase): string[] =>
    (PLAN[name] ?? []).filter((server) => servers.length === 0 || servers.includes(server))
  const cases = CASES.filter(
    (one) => (pieces.length === 0 || pieces.some((piece) => one.name.includes(piece))) && takers(one).length > 0,
  )
  if (cases.length === 0) throw new Error(`no case of the plan is run on ${servers.join(', ')}`)
  const wanted = SERVER_NAMES.filter((name) => cases.some((one) => takers(one).includes(name))).map((name): Wanted => {
    const takes = (one: FioCase): boolean => takers(one).includes(name)
    const isMany = cases.some((one) => takes(one) && one.volumes !== undefined)
    const shares = isMany ? Array.from({ length: VOLUMES_AT_ONCE - 1 }, () => sizeBytes / VOLUMES_AT_ONCE) : []
    return { name, sizes: [sizeBytes, ...shares], takes }
  })
  const has = (one: string, server: string): boolean =>
    cases.some(({ name }) => name === one) && wanted.some(({ name }) => name === server)
  const goals = GOALS.filter(({ one, ours, theirs }) => has(one, ours) && has(one, theirs))
  return { cases, wanted, goals }
}
