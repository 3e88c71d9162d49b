/**
 * The largest part of the suite `full`: volumes of ours (one and three copies, durable and writeback, plain and
 * encrypted, used where their primary is and elsewhere) and the servers others use, with fio, side by side in one run
 * (full-plan.ts).
 */
import { MIB } from '../../engine/units.ts'
import { CASES } from './cases.ts'
import { CEPH_NAME, startCeph } from './ceph.ts'
import { compareServers, judge, type Samples } from './comparison.ts'
import { select } from './full-plan.ts'
import { OUR_NAMES, startOurs } from './our-volumes.ts'
import { startPeers, type Servers } from './peers.ts'
import { plot, type Panel } from './plot.ts'
import { spread } from './ratio.ts'
import { samplesTable } from './samples-table.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const SIZE_BYTES = 256 * MIB
const QUICK_BYTES = 32 * MIB
const COMPARED_WITH = ['qemu-wt', 'qemu-wb', 'nbdkit', 'bare', 'psync', CEPH_NAME]
const PLOT = 'results.svg'
const LARGE_BYTES = 64 * 1024

export async function measureSideBySide(context: SuiteContext): Promise<SuiteOutcome> {
  const { scratch, print, quick, rounds, seconds, only } = context
  const sizeBytes = quick ? QUICK_BYTES : SIZE_BYTES
  const { cases, wanted, goals } = select(only, sizeBytes)
  const found: Servers = { servers: [], absent: [] }
  const ends: Array<() => unknown> = []
  try {
    print(`filling volumes and files of ${sizeBytes / MIB} MiB for ${wanted.map(({ name }) => name).join(', ')}`)
    await startOurs(scratch, wanted, found, ends)
    await startPeers(scratch, wanted, found)
    await startCeph(scratch, wanted, found)
    for (const reason of found.absent) print(`left out: ${reason}`)
    const samples = await compareServers(context, found.servers, cases, sizeBytes)
    const how = `medians of ${rounds} rounds of ${seconds} s, lines from the least to the most`
    const notes = [
      `${rounds} rounds of ${seconds} s each, volumes and files of ${sizeBytes / MIB} MiB; fio and all servers, ` +
        'three nodes of ours included, on the same machine.',
      'CPU of ours is that of all three daemons; latency of `bare` and `psync` is of a write and a sync together.',
      ...found.absent.map((reason) => `Left out: ${reason}.`),
    ]
    const others = COMPARED_WITH.filter((name) => wanted.some((one) => one.name === name))
    const parts = [notes.join(' '), `![${how}](${PLOT})`, samplesTable(samples, OUR_NAMES, others)]
    return {
      goals: goals.map((goal) => judge(goal, samples, found.absent)),
      text: parts.join('\n\n'),
      files: [{ name: PLOT, text: plot('Holdfast beside others', how, panelsOf(samples)) }],
    }
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

const panelsOf = (samples: Samples): Panel[] => [...samples].map(([name, byServer]) => {
  const isLarge = CASES.find((one) => one.name === name)!.blockBytes >= LARGE_BYTES
  const bars = [...byServer].map(([label, rounds]) => {
    const figures = rounds.map((sample) => (isLarge ? sample!.bytesPerSecond / 1e6 : sample!.iops))
    return { label, isOurs: OUR_NAMES.includes(label), ...spread(figures) }
  })
  return { title: name, unit: isLarge ? 'MB/s' : 'IOPS', bars }
})
