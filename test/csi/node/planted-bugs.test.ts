/**
 * Risk: the story of killed steps passes because it sees nothing. Every planted bug has to be seen by it, with the kill
 * at which the bug is met, and the host as it is passes the same.
 */
// test-timeout-seconds: 300
import { noOwnMounts } from './own-mounts.ts'
import t from 'tap'
import { findProgram } from '../../../csi/host/host-command.ts'
import { misfit } from '../../sim/mutants.ts'
import { KilledHost, NodeProcesses } from './killed-host.ts'
import { killedStory } from './killed-story.ts'
import { PLANTED } from './planted-bugs.ts'

t.setTimeout(300_000)
const without = (['nbdfuse', 'mkfs.ext4', 'losetup'] as const).find((program) => findProgram(program) === undefined)
const skip = noOwnMounts ?? (without !== undefined && `${without} is not installed`)

/** In a story without a kill. */
let ran: string[] = []

t.test('as it is', { skip }, async (t) => {
  const nodes = new NodeProcesses(t)
  const host = new KilledHost(t, nodes)
  t.equal(await killedStory(host, 'ext4'), undefined)
  ran = host.ran()
  for (const { name, met } of PLANTED) {
    if (met === undefined) continue
    const host = new KilledHost(t, nodes)
    host.killAt(1, met.kill, met.at)
    t.equal(await killedStory(host, 'ext4'), undefined, `where this is met: ${name}`)
  }
})

for (const bug of PLANTED) {
  t.test(bug.name, { skip }, async (t) => {
    t.equal(misfit(bug), undefined)
    const nodes = new NodeProcesses(t, { HOST_BUG: bug.name })
    const { met } = bug
    const runs = met === undefined ? 1 : ran.filter((program) => program === met.at).length
    for (let run = 1; run <= runs; run++) {
      const host = new KilledHost(t, nodes)
      if (met !== undefined) host.killAt(run, met.kill, met.at)
      const problem = await killedStory(host, 'ext4')
      if (problem !== undefined) return t.comment(problem.split('\n', 1)[0])
    }
    t.fail('nothing of it was seen')
  })
}
