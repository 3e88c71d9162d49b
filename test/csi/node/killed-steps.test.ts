/**
 * Risk: a step of staging or publishing that was cut off leaves something that the next one takes for done, or makes
 * anew. The Node service is killed with -9 at each program of the host that it runs, and its caller comes again.
 *
 *   node test/csi/node/killed-steps.test.ts        some steps, each killed in one way
 *   KILLS=all node ...                             each step, killed before, during and after, and with it
 */
// test-timeout-seconds: 300
import { noOwnMounts } from './own-mounts.ts'
import t from 'tap'
import { findProgram } from '../../../csi/host/host-command.ts'
import { KILLS, KilledHost, NodeProcesses } from './killed-host.ts'
import { killedStory } from './killed-story.ts'

const isAll = process.env.KILLS === 'all'
t.setTimeout(isAll ? 3_600_000 : 300_000)
/** Of so many steps one is killed, else. */
const SHARE = 4
const missing = ['nbdfuse', 'mkfs.ext4', 'mkfs.xfs', 'losetup'] as const
const without = missing.find((program) => findProgram(program) === undefined)
const skip = noOwnMounts ?? (without !== undefined && `${without} is not installed`)

for (const [fsType, first] of [['ext4', 1], ['xfs', 3]] as const) {
  t.test(fsType, { skip }, async (t) => {
    const nodes = new NodeProcesses(t)
    const host = new KilledHost(t, nodes)
    t.equal(await killedStory(host, fsType), undefined, 'without a kill')
    const { steps } = host
    t.ok(steps > 20, `${steps} programs are run`)
    for (let step = isAll ? 1 : first; step <= steps; step += isAll ? 1 : SHARE) {
      for (const kill of isAll ? KILLS : [KILLS[step % KILLS.length]!]) {
        await t.test(`killed ${kill} program ${step}`, async (t) => {
          const host = new KilledHost(t, nodes)
          host.killAt(step, kill)
          t.equal(await killedStory(host, fsType), undefined)
        })
      }
    }
  })
}
