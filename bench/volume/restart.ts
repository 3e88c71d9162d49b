/**
 * Suite `start`: a volume with 20 GiB written, kill -9 of supervisor and daemon under the freshest possible log tail,
 * then the time from starting the node again to the first block read over NBD. The page cache stays warm.
 */
import { GIB, MIB } from '../../engine/units.ts'
import { caseWords } from './cases.ts'
import { prefill, runFio } from './fio.ts'
import { HoldfastNode } from './holdfast-node.ts'
import { readOnce } from './nbd-probe.ts'
import { spread } from './ratio.ts'
import { pause } from './scratch.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const LIMIT_SECONDS = 5
const KILLS = 3
const POLL_MS = 5
const OVERWRITE_SECONDS = 5
const PROBE_BYTES = 4096

export async function measureRestart({ scratch, print, quick }: SuiteContext): Promise<SuiteOutcome> {
  const sizeBytes = (quick ? 1 : 20) * GIB
  const diskBytes = Math.ceil(sizeBytes * 1.3)
  scratch.needRoom(diskBytes + GIB)
  const node = new HoldfastNode({ scratch, name: 'hf', diskBytes })
  await node.start()
  await node.createVolume('data', sizeBytes, 'writeback')
  const target = { uri: node.uri('data') }
  const filled = await prefill(scratch, target, sizeBytes)
  print(`${sizeBytes / GIB} GiB written in ${filled.seconds.toFixed(0)} s`)
  const times: number[] = []
  for (let kill = 0; kill < KILLS; kill++) {
    const one = { name: '', rw: 'randwrite' as const, blockBytes: 4096, queueDepth: 32 }
    await runFio(scratch, target, caseWords(one, sizeBytes, OVERWRITE_SECONDS))
    await node.kill()
    const beganMs = performance.now()
    const launched = node.launch()
    const offsetBytes = Math.floor(Math.random() * (sizeBytes / MIB)) * MIB
    let bytes: Buffer | undefined
    while (bytes === undefined) {
      bytes = await readOnce(node.paths.nbd, 'data', { offsetBytes, lengthBytes: PROBE_BYTES })
      if (bytes === undefined) await pause(POLL_MS)
    }
    times.push((performance.now() - beganMs) / 1000)
    await launched
    if (bytes.every((byte) => byte === 0)) throw new Error(`block ${offsetBytes} was written and reads as zeroes`)
    print(`kill ${kill + 1}: first read after ${times.at(-1)!.toFixed(2)} s`)
  }
  await node.stop()
  const { median, most, least } = spread(times)
  const goal = {
    name: `start after kill -9 with ${sizeBytes / GIB} GiB written, to the first read`,
    wanted: `<= ${LIMIT_SECONDS} s`,
    measured: `${median.toFixed(2)} s (${least.toFixed(2)} to ${most.toFixed(2)}, ${KILLS} kills)`,
    met: most <= LIMIT_SECONDS,
  }
  const text =
    `The volume is written once (1 MiB writes, then a flush), then overwritten at random for ${OVERWRITE_SECONDS} s ` +
    'before each kill; from the start of the supervisor to the answer of a read of a written block.'
  return { goals: [goal], text }
}
