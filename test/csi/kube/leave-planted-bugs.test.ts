/** Risk: the worlds of leave-step.test.ts pass because they see nothing. Each planted bug has to be found in them. */
// test-timeout-seconds: 300
import t from 'tap'
import { editsOf, importMutant, misfit } from '../../sim/mutants.ts'
import { LeaveWorld, worldOf } from './leave-world.ts'

t.setTimeout(300_000)
/** A change of the rules shifts what happens: then some later seed finds the bug. */
const MORE_SEEDS = 400

const PLANTED = [
  {
    name: 'nodes that may be away are counted',
    seed: 1,
    file: 'csi/kube/leaving/leave-rules.ts',
    replace: 'others.filter((copy) => !letGo.has(copy.node)).length',
    by: 'others.length',
  },
  {
    name: 'copies that are being filled are counted',
    seed: 15,
    file: 'csi/kube/leaving/leave-rules.ts',
    replace: 'const complete = volume.copies.filter(({ isComplete }) => isComplete)',
    by: 'const complete = volume.copies.filter(() => true)',
  },
  {
    name: 'leave is given by what is wished, while others have it still',
    seed: 225,
    file: 'csi/kube/leaving/leave-step.ts',
    replace: "Object.keys(next).filter((one) => one !== node))",
    by: "[...wish.guards].filter((one) => one !== node))",
  },
  {
    name: 'a budget that is closed is not touched behind the mark',
    seed: 25,
    file: 'csi/kube/leaving/leave-step.ts',
    replace: '(!budget.isOpen && budget.mark === mark)',
    by: '!budget.isOpen',
    and: {
      file: 'csi/kube/leaving/leave-step.ts',
      replace: 'if (budget.isOpen || budget.mark !== mark) {',
      by: 'if (budget.isOpen) {',
    },
  },
  {
    name: 'a node is over when its pod was deleted',
    seed: 1,
    file: 'csi/kube/leaving/leave-step.ts',
    replace: 'if (isDeleted(look, pod)) return isBack(look, node, pod)',
    by: 'if (isDeleted(look, pod)) return true',
  },
  {
    name: 'a spared pod that does not run is forgotten',
    seed: 230,
    file: 'csi/kube/leaving/leave-step.ts',
    replace: 'look.pods.some(({ uid, isReady }) => uid === pod.uid && isReady)',
    by: 'look.pods.some(({ uid }) => uid === pod.uid)',
  },
  {
    name: 'leave is never over',
    seed: 1,
    file: 'csi/kube/leaving/leave-step.ts',
    replace: 'if (guard !== undefined && !isGuardOver(look, node, guard)) entry.guard = guard',
    by: 'if (guard !== undefined) entry.guard = guard',
  },
  {
    name: 'paused is not heard',
    seed: 1,
    file: 'csi/kube/leaving/replacement.ts',
    replace: "if (set.isPaused) return told('paused'",
    by: "if (set.wantedPods < 0) return told('paused'",
  },
]

function hunt(World: typeof LeaveWorld, from: number, isFirst = false): string | undefined {
  for (let seed = from; seed < from + MORE_SEEDS; seed++) {
    const world = worldOf(World, seed, isFirst)
    world.run()
    if (world.violations.length > 0) return `seed ${seed}: ${world.violations[0]!.slice(0, 200)}`
  }
  return undefined
}

for (const bug of PLANTED) {
  t.test(bug.name, async (t) => {
    t.same(editsOf(bug).map(misfit).filter((why) => why !== undefined), [])
    const mutated = await importMutant<typeof import('./leave-world.ts')>(bug, 'test/csi/kube/leave-world.ts')
    const found = hunt(mutated.LeaveWorld, bug.seed)
    t.ok(found)
    t.comment(found ?? 'not found')
  })
}

t.test('the register is read first', async (t) => {
  const found = hunt(LeaveWorld, 365, true)
  t.ok(found)
  t.comment(found ?? 'not found')
})
