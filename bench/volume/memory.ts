/**
 * Suite `memory`: resident memory of supervisor and daemon while 4 KiB blocks all over a volume of 100 million mapped
 * blocks are overwritten and what was written is read back and verified; then the same with 1 million. fio writes
 * 64 Ki blocks at random places, then reads and verifies them, and so on: nearly every read misses the cached map.
 */
import { GIB, MIB, BLOCK_BYTES, PAGE_BLOCKS } from '../../engine/units.ts'
import { runFio } from './fio.ts'
import { HoldfastNode } from './holdfast-node.ts'
import { makeMappedDisk } from './mapped-disk.ts'
import { memoryOf } from './process-figures.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const BLOCKS = { many: 100e6, few: 1e6 }
const QUICK_BLOCKS = { many: 2e6, few: 0.1e6 }
const LIMIT_BYTES = 400 * MIB
const GROWTH_LIMIT_BYTES = 50 * MIB
const SAMPLE_MS = 1000
const VERIFY_BLOCKS = 65_536
/** Of log a minute, more than was ever seen; the cleaner must not find the segments that were never written. */
const LOG_BYTES_PER_MINUTE = 6 * GIB
const SEGMENT_BYTES = 32 * MIB

interface Peak {
  totalBytes: number
  daemonAnonBytes: number
  daemonFileBytes: number
  supervisorBytes: number
}

interface Run {
  blocks: number
  peak: Peak
  last: Peak
  writes: number
  reads: number
  buildSeconds: number
}

export async function measureMemory(context: SuiteContext): Promise<SuiteOutcome> {
  const { quick, minutes } = context
  const blocks = quick ? QUICK_BLOCKS : BLOCKS
  const few = await measureRun(context, 'few', blocks.few)
  const many = await measureRun(context, 'many', blocks.many)
  const growthBytes = many.peak.totalBytes - few.peak.totalBytes
  const goals = [
    {
      name: `resident memory with ${millions(many.blocks)} mapped blocks, supervisor and daemon, peak`,
      wanted: `<= ${LIMIT_BYTES / MIB} MiB`,
      measured: mib(many.peak.totalBytes),
      met: many.peak.totalBytes <= LIMIT_BYTES,
    },
    {
      name: `more than with ${millions(few.blocks)}`,
      wanted: `<= ${GROWTH_LIMIT_BYTES / MIB} MiB`,
      measured: mib(growthBytes),
      met: growthBytes <= GROWTH_LIMIT_BYTES,
    },
  ]
  const row = ({ blocks: mapped, peak, last, writes, reads, buildSeconds }: Run): string =>
    `| ${millions(mapped)} | ${mib(peak.totalBytes)} | ${mib(peak.daemonAnonBytes)} + ${mib(peak.daemonFileBytes)} | ` +
    `${mib(peak.supervisorBytes)} | ${mib(last.totalBytes)} | ${writes} | ${reads} | ${buildSeconds.toFixed(0)} s |`
  const text = [
    `${minutes} minutes each of random 4k overwrites at queue depth 32 (durable), every ${VERIFY_BLOCKS} of them ` +
      'read back and verified by fio. Sampled every second.',
    '',
    '| mapped blocks | peak | of which daemon, own + mapped files | supervisor | at the end | writes ' +
      '| verified reads | map built in |',
    '|---|---|---|---|---|---|---|---|',
    row(few),
    row(many),
  ].join('\n')
  return { goals, text }
}

async function measureRun({ scratch, print, minutes }: SuiteContext, name: string, blocks: number): Promise<Run> {
  const logBytes = Math.ceil(LOG_BYTES_PER_MINUTE * Math.max(1, minutes))
  const pages = Math.floor(blocks / PAGE_BLOCKS)
  // Twice the index (it compacts), and what the minutes write.
  scratch.needRoom(Math.min(logBytes, 40 * GIB) + 2 * blocks * 25)
  let shownAt = performance.now()
  const made = await makeMappedDisk(
    scratch.path(name),
    { name: 'mapped', pages, freeSegments: Math.ceil(logBytes / SEGMENT_BYTES) },
    (done) => {
      if (performance.now() - shownAt < 10_000) return
      shownAt = performance.now()
      print(`  ${millions(done * PAGE_BLOCKS)} of ${millions(blocks)} blocks mapped`)
    },
  )
  print(`${millions(blocks)} blocks mapped in ${made.seconds.toFixed(1)} s`)
  const node = new HoldfastNode({ scratch, name, diskBytes: made.diskBytes })
  await node.start()
  let peak = sample(node)
  let last = peak
  const timer = setInterval(() => {
    last = sample(node)
    if (last.totalBytes > peak.totalBytes) peak = last
  }, SAMPLE_MS)
  try {
    const report = await runFio(scratch, { uri: node.uri('mapped') }, [
      '--rw=randwrite', '--bs=4k', '--iodepth=32', `--size=${pages * PAGE_BLOCKS * BLOCK_BYTES}`, '--time_based',
      `--runtime=${Math.round(minutes * 60)}`, '--verify=crc32c', `--verify_backlog=${VERIFY_BLOCKS}`,
      '--verify_fatal=1', '--verify_state_save=0', '--randrepeat=0',
    ])
    print(
      `${millions(blocks)} blocks: peak ${mib(peak.totalBytes)} (daemon ${mib(peak.daemonAnonBytes)} own, ` +
        `${mib(peak.daemonFileBytes)} mapped files), ${report.writes} writes, ${report.reads} verified reads`,
    )
    return { blocks, peak, last, writes: report.writes, reads: report.reads, buildSeconds: made.seconds }
  } finally {
    clearInterval(timer)
    await node.stop()
    scratch.drop(name)
  }
}

function sample(node: HoldfastNode): Peak {
  const daemon = memoryOf(node.daemonPid)
  const supervisorBytes = memoryOf(node.supervisorPid).rssBytes
  return {
    totalBytes: daemon.rssBytes + supervisorBytes,
    daemonAnonBytes: daemon.anonBytes,
    daemonFileBytes: daemon.fileBytes,
    supervisorBytes,
  }
}

const mib = (bytes: number): string => `${(bytes / MIB).toFixed(0)} MiB`
const millions = (blocks: number): string => `${Number((blocks / 1e6).toFixed(2))} million`
