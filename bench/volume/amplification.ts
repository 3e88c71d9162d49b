/**
 * Suite `amplification`: volumes that fill 80 % of what a pool offers, written once, then overwritten uniformly at
 * random at queue depth 32 until three times their size is written: how many bytes the daemon wrote for each of the
 * client's, with index, initialised segments and the cleaner's copies.
 */
import fs from 'node:fs'
import { spawnSync } from 'node:child_process'
import { GIB, MIB } from '../../engine/units.ts'
import { prefill, runFio } from './fio.ts'
import { HoldfastNode } from './holdfast-node.ts'
import { fileSystemOf } from './machine-facts.ts'
import { writtenBytesOf } from './process-figures.ts'
import { pause } from './scratch.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'
import { deviceBytesOf, indexBytesBelow, unwrittenBytes } from './written-bytes.ts'

const LIMIT = 4
const FILL = 0.8
const OVERWRITES = 3
const VOLUMES = 2
const QUEUE_DEPTH = 32
/** What goes on in the background after the last write counts as well. */
const QUIET_MS = 3000
const QUIET_DEADLINE_MS = 60_000

interface Counters {
  writtenBytes: number
  indexBytes: number
  unwrittenBytes: number | undefined
  deviceBytes: number | undefined
}

export async function measureAmplification({ scratch, print, quick }: SuiteContext): Promise<SuiteOutcome> {
  const diskBytes = (quick ? 2 : 4) * GIB
  scratch.needRoom(diskBytes + GIB)
  const node = new HoldfastNode({ scratch, name: 'hf', diskBytes })
  await node.start()
  const { disks } = await node.client.listDisks()
  const { capacityBytes } = disks[0]!
  const sizeBytes = Math.floor((capacityBytes * FILL) / VOLUMES / MIB) * MIB
  const names = Array.from({ length: VOLUMES }, (_, i) => `v${i}`)
  for (const name of names) {
    await node.createVolume(name, sizeBytes, 'durable')
    await prefill(scratch, { uri: node.uri(name) }, sizeBytes)
  }
  const filledBytes = sizeBytes * VOLUMES
  print(`filled ${(filledBytes / capacityBytes * 100).toFixed(1)} % of ${Math.round(capacityBytes / MIB)} MiB`)
  const { device } = fileSystemOf(scratch.dir)
  const counters = (): Counters => ({
    writtenBytes: writtenBytesOf(node.daemonPid),
    indexBytes: indexBytesBelow(node.paths.index),
    unwrittenBytes: unwrittenBytes(node.diskPath),
    deviceBytes: deviceBytesOf(fs.readFileSync('/proc/diskstats', 'utf8'), device),
  })
  await quiet(node)
  spawnSync('sync', ['-f', scratch.dir])
  const before = counters()
  const words = [
    '--rw=randwrite', '--bs=4k', `--iodepth=${QUEUE_DEPTH / VOLUMES}`, `--size=${sizeBytes}`,
    `--io_size=${OVERWRITES * sizeBytes}`, '--norandommap', '--randrepeat=0',
  ]
  const reports = await Promise.all(names.map((name) => runFio(scratch, { uri: node.uri(name) }, words)))
  await quiet(node)
  spawnSync('sync', ['-f', scratch.dir])
  const after = counters()
  await node.stop()
  const clientBytes = reports.reduce((sum, report) => sum + report.writes * 4096, 0)
  const times = (from: number | undefined, to: number | undefined): string =>
    from === undefined || to === undefined ? 'unknown' : ((to - from) / clientBytes).toFixed(2)
  const ratio = (after.writtenBytes - before.writtenBytes) / clientBytes
  const iops = reports.reduce((sum, report) => sum + report.iops, 0)
  const index = (after.indexBytes - before.indexBytes) / clientBytes
  const zeroes =
    before.unwrittenBytes === undefined || after.unwrittenBytes === undefined
      ? undefined
      : (before.unwrittenBytes - after.unwrittenBytes) / clientBytes
  print(`${ratio.toFixed(2)} bytes written for each of the client's, ${Math.round(iops)} IOPS`)
  const goal = {
    name: `bytes written for each of the client's, pool ${FILL * 100} % full, ${OVERWRITES}x overwritten`,
    wanted: `<= ${LIMIT}x`,
    measured: `${ratio.toFixed(2)}x`,
    met: ratio <= LIMIT,
  }
  const text = [
    `${VOLUMES} volumes of ${sizeBytes / MIB} MiB in ${Math.round(capacityBytes / MIB)} MiB of capacity; ` +
      `${(clientBytes / GIB).toFixed(2)} GiB of 4k random writes at queue depth ${QUEUE_DEPTH}, ` +
      `${Math.round(iops)} IOPS.`,
    '',
    '| bytes written, for each of the client\'s | |',
    '|---|---|',
    `| by the daemon, all threads (\`wchar\` of /proc/PID/io) | ${ratio.toFixed(2)} |`,
    `| of which index (LevelDB's tables and write-ahead log) | ${index.toFixed(2)} |`,
    `| of which first use of segments (unwritten extents gone) | ${zeroes?.toFixed(2) ?? 'unknown'} |`,
    `| of which the log: client, headers, cleaner | ${(ratio - index - (zeroes ?? 0)).toFixed(2)} |`,
    `| as a check: to the device, by everybody on it | ${times(before.deviceBytes, after.deviceBytes)} |`,
  ].join('\n')
  return { goals: [goal], text }
}

/** Until the daemon has written nothing for a while. */
async function quiet(node: HoldfastNode): Promise<void> {
  let last = -1
  for (const deadline = performance.now() + QUIET_DEADLINE_MS; performance.now() < deadline;) {
    const now = writtenBytesOf(node.daemonPid)
    if (now === last) return
    last = now
    await pause(QUIET_MS)
  }
}
