/**
 * Part of the suite `full`: what the slowest durable writes take while a node works in the background. One node has two
 * disks, each with a volume of the same size, and fio does the same to both and to qemu-nbd over a file of that size.
 *
 *   calm      the disk is so large that nothing has to be cleaned, and nobody scrubs
 *   busy      the volume fills 75 % of the disk and was overwritten at random until every segment is a mixture, so that
 *             room comes from the cleaner alone; a deep scrub begins just before each run
 *   qemu-wt   a sync behind every write
 *
 * Checkpoints come with the log in both.
 */
import fs from 'node:fs'
import { MIB } from '../../engine/units.ts'
import type { FioCase } from './cases.ts'
import { compareServers, judge, type RatioGoal } from './comparison.ts'
import { prefill, runFio } from './fio.ts'
import { makeVolume, withOneNode } from './one-node.ts'
import { startPeers, type Servers } from './peers.ts'
import { cpuSeconds } from './process-figures.ts'
import { samplesTable } from './samples-table.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const BUSY_DISK_BYTES = 1024 * MIB
const QUICK_BUSY_DISK_BYTES = 512 * MIB
/** The fillings and all rounds fit. */
const CALM_DISK_FACTOR = 6
const FILL = 0.75
const OVERWRITES = 2
const SECONDS = 8

const ONE: FioCase = { name: '4k randwrite QD32', rw: 'randwrite', blockBytes: 4096, queueDepth: 32 }

const GOALS: readonly RatioGoal[] = ([['calm', 3], ['qemu-wt', 1.5]] as const).map(([theirs, limit]) => ({
  name: `${ONE.name} durable, p99.9 latency under cleaner, checkpoints and scrub : ${
    theirs === 'calm' ? 'with checkpoints alone' : theirs}`,
  one: ONE.name, metric: 'p999Us', ours: 'busy', theirs, compare: 'most', limit,
}))

export async function measureBackground(context: SuiteContext): Promise<SuiteOutcome> {
  const { scratch, print, quick, seconds } = context
  const busyBytes = quick ? QUICK_BUSY_DISK_BYTES : BUSY_DISK_BYTES
  const disks = { calm: CALM_DISK_FACTOR * busyBytes, busy: busyBytes }
  const setUp = () => ({
    change: {
      disks: Object.entries(disks).map(([pool, sizeBytes]) =>
        ({ path: scratch.path('background', `${pool}.disk`), sizeBytes, pool, tags: [] })),
    },
  })
  const dir = scratch.path('background')
  fs.mkdirSync(dir)
  const diskBytes = disks.calm + disks.busy
  return withOneNode(scratch, { diskBytes, setUp, dir }, async ({ node, api }) => {
    const listed = await api.listDisks()
    const { capacityBytes } = listed.disks.find(({ pool }) => pool === 'busy')!
    const sizeBytes = Math.floor((capacityBytes * FILL) / MIB) * MIB
    print(`background: filling and overwriting volumes of ${sizeBytes / MIB} MiB`)
    const found: Servers = { servers: [], absent: [] }
    for (const name of ['calm', 'busy'] as const) {
      await makeVolume(api, name, sizeBytes, { pool: name })
      const target = { uri: `nbd+unix:///${name}?socket=${node.paths.nbd}` }
      await prefill(scratch, target, sizeBytes)
      const overwrite = [`--rw=randwrite`, '--bs=4k', '--iodepth=128', `--size=${sizeBytes}`, '--norandommap']
      if (name === 'busy') await runFio(scratch, target, [...overwrite, `--io_size=${OVERWRITES * sizeBytes}`])
      const scrub = async (): Promise<void> => {
        const { refused } = await api.scrubVolume({ name, isDeep: true })
        if (refused.length > 0) throw new Error(`the scrub was refused: ${JSON.stringify(refused)}`)
      }
      found.servers.push({
        name, targets: [target], cpuSeconds: () => cpuSeconds([node.pid]), takes: () => true,
        ...(name === 'busy' ? { prepare: scrub } : {}),
      })
    }
    await startPeers(scratch, [{ name: 'qemu-wt', sizes: [sizeBytes], takes: () => true }], found, 'background-')
    const runSeconds = quick ? 1 : Math.max(SECONDS, seconds)
    const samples = await compareServers({ ...context, seconds: runSeconds }, found.servers, [ONE], sizeBytes)
    const goals = GOALS.map((goal) => judge(goal, samples, found.absent))
    const text = [
      `Background work: a node with two disks, volumes and file of ${sizeBytes / MIB} MiB, runs of ${runSeconds} s; ` +
        '`busy` fills 75 % of its disk, is cleaned all the time and scrubbed deeply, `calm` is neither.',
      samplesTable(samples, ['calm', 'busy'], ['calm', 'qemu-wt']),
    ]
    return { goals, text: text.join('\n\n') }
  })
}
