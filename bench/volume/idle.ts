/** Suite `idle`: the processor time of a node that holds 100 volumes and has nothing to do. */
import { GIB, MIB } from '../../engine/units.ts'
import { HoldfastNode } from './holdfast-node.ts'
import { pause } from './scratch.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const VOLUMES = 100
const LIMIT_PERCENT = 1
/** Over which what follows the creation (watermarks, initialised segments) ends. */
const SETTLE_SECONDS = 15
const SECONDS = 20

export async function measureIdle({ scratch, print, quick }: SuiteContext): Promise<SuiteOutcome> {
  const seconds = quick ? 5 : SECONDS
  scratch.needRoom(3 * GIB)
  const node = new HoldfastNode({ scratch, name: 'hf', diskBytes: 2 * GIB })
  await node.start()
  for (let i = 0; i < VOLUMES; i++) await node.createVolume(`v${i}`, 64 * MIB, 'durable')
  await pause(SETTLE_SECONDS * 1000)
  const before = node.cpuSeconds()
  const beganMs = performance.now()
  await pause(seconds * 1000)
  const percent = ((node.cpuSeconds() - before) / ((performance.now() - beganMs) / 1000)) * 100
  await node.stop()
  print(`${VOLUMES} volumes: ${percent.toFixed(2)} % of a core over ${seconds} s`)
  const goal = {
    name: `idle with ${VOLUMES} volumes, supervisor and daemon`,
    wanted: `<= ${LIMIT_PERCENT} % of a core`,
    measured: `${percent.toFixed(2)} %`,
    met: percent <= LIMIT_PERCENT,
  }
  const text = `Processor time over ${seconds} s, ${SETTLE_SECONDS} s after the last volume was made.`
  return { goals: [goal], text }
}
