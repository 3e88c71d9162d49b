/**
 * Suite `scale-workers`: two volumes of one node on one data worker, and on two, with a client each; and what that
 * would be with more cores, on paper, from the processor time of an operation.
 */
import { MIB } from '../../engine/units.ts'
import { CLUSTER_WORKERS_MAX } from '../../cluster/membership/beat-body.ts'
import { caseWords } from './cases.ts'
import type { FioCase } from './cases.ts'
import { prefill, runFio } from './fio.ts'
import { HoldfastNode } from './holdfast-node.ts'
import { spread } from './ratio.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const SIZE_BYTES = 256 * MIB
const VOLUMES = ['a', 'b']
const WORKERS = [1, 2]
const CASES: readonly FioCase[] = [
  { name: '4k randwrite QD32, two volumes', rw: 'randwrite', blockBytes: 4096, queueDepth: 32 },
  { name: '4k randread QD32, two volumes', rw: 'randread', blockBytes: 4096, queueDepth: 32 },
]
const CORES = [16, 64]

interface Sample {
  iops: number
  /** Of supervisor and daemon, microseconds an operation. */
  cpuUs: number
}

export async function measureScaleWorkers(context: SuiteContext): Promise<SuiteOutcome> {
  const { scratch, print, rounds, seconds } = context
  scratch.needRoom(8 * SIZE_BYTES)
  const nodes = new Map<number, HoldfastNode>()
  for (const workers of WORKERS) {
    const node = new HoldfastNode({
      scratch, name: `w${workers}`, diskBytes: 6 * SIZE_BYTES, words: ['--workers', `${workers}`],
    })
    nodes.set(workers, node)
    await node.start()
    for (const name of VOLUMES) {
      await node.createVolume(name, SIZE_BYTES, 'durable')
      await prefill(scratch, { uri: node.uri(name) }, SIZE_BYTES)
    }
  }
  const samples = new Map<string, Sample[]>()
  for (let round = 0; round < rounds; round++) {
    for (const one of CASES) {
      for (const workers of round % 2 === 0 ? WORKERS : [...WORKERS].reverse()) {
        const sample = await sampleOf(context, nodes.get(workers)!, one, seconds)
        const key = `${one.name} ${workers}`
        samples.set(key, [...(samples.get(key) ?? []), sample])
        print(`${one.name}, ${workers} workers: ${sample.iops.toFixed(0)} IOPS, ${sample.cpuUs.toFixed(1)} us each`)
      }
    }
  }
  for (const node of nodes.values()) await node.stop()
  return { goals: [], text: textOf(samples, rounds, seconds) }
}

async function sampleOf(
  { scratch }: SuiteContext, node: HoldfastNode, one: FioCase, seconds: number,
): Promise<Sample> {
  const before = node.cpuSeconds()
  const reports = await Promise.all(VOLUMES.map((name) =>
    runFio(scratch, { uri: node.uri(name) }, caseWords(one, SIZE_BYTES, seconds))))
  const operations = reports.reduce((sum, report) => sum + report.operations, 0)
  const iops = reports.reduce((sum, report) => sum + report.iops, 0)
  return { iops, cpuUs: ((node.cpuSeconds() - before) * 1e6) / operations }
}

function textOf(samples: ReadonlyMap<string, Sample[]>, rounds: number, seconds: number): string {
  const count = (value: number): string => Math.round(value).toLocaleString('en')
  const rows: string[] = []
  for (const { name } of CASES) {
    const of = (workers: number): Sample[] => samples.get(`${name} ${workers}`)!
    const [one, two] = [of(1), of(2)]
    const ratio = spread(two.map(({ iops }, i) => iops / one[i]!.iops))
    const us = spread(two.map(({ cpuUs }) => cpuUs)).median
    const onPaper = CORES.map((cores) => count((Math.min(cores - 1, CLUSTER_WORKERS_MAX) * 1e6) / us))
    const shown = [one, two].map((found) => count(spread(found.map(({ iops }) => iops)).median))
    const each = [one, two].map((found) => spread(found.map(({ cpuUs }) => cpuUs)).median.toFixed(1)).join(', ')
    const range = `${ratio.median.toFixed(2)} (${ratio.least.toFixed(2)} to ${ratio.most.toFixed(2)})`
    rows.push(`| ${[name, ...shown, range, each, ...onPaper].join(' | ')} |`)
  }
  return [
    `${rounds} rounds of ${seconds} s, both clients on the machine of the node, \`durable\`, volumes of 256 MiB.`, '',
    `| case | 1 worker, IOPS | 2 workers | 2 : 1 | CPU us each, with 1 and 2 | ${CORES.map((cores) =>
      `${cores} cores, on paper`).join(' | ')} |`,
    '|---|---|---|---|---|---|---|', ...rows, '',
    'On paper: one worker for each core but one, '
      + `${CLUSTER_WORKERS_MAX} at most (of a node of a cluster), each as busy as a core lets it be, volumes enough `
      + 'for all of them, clients on other machines, and disks that keep up: none of these is measured here.',
  ].join('\n')
}
