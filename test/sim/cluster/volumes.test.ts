/**
 * Risk: volumes that share nodes, disks and links harm each other, or one that was deleted comes back. Seeds with
 * several volumes, whose copies are erased and made anew: none may complain now, and bugs planted in how a store erases
 * a copy have to be found.
 */
// test-timeout-seconds: 300
import t from 'tap'
import type { Edit } from '../mutants.ts'
import { isHunted, runsWell } from './focused-seeds.ts'
import { swarmOf } from './run-seed.ts'

t.setTimeout(300_000)

const SEEDS = Array.from({ length: 25 }, (_, i) => 10_003 + 5 * i)
/**
 * What is run as it is: the first ones, without those that scrub all the while, which take half of the time of all and
 * have a test of their own (last-scrub.test.ts). `npm run sim -- --from 10001 --seeds 130` runs all of them.
 */
const RUN = SEEDS.slice(0, 15).filter((seed) => swarmOf(seed).scrubEveryMs === Infinity)

const PLANTED: Array<Edit & { name: string }> = [
  {
    name: 'an erased copy is opened after a restart',
    file: 'engine/volume/copy-set.ts',
    replace: '      if (one.descriptor.copy.isRemoved === true) {',
    by: '      if (one.descriptor.copy.revision < 0) {',
  },
  {
    name: 'an erased copy keeps its blocks',
    file: 'engine/volume/copy-set.ts',
    replace: '    copy.renew(spec, { copyId, isRemoved: true }, () => done(true))',
    by: '    done(true)',
  },
  {
    name: 'what was erased is not wiped',
    file: 'engine/volume/copy-filling.ts',
    replace: 'const isWiped = isKept && (yield* this.wipeTask())',
    by: 'const isWiped = isKept',
  },
]

t.test('which seeds have them, and what those are like', (t) => {
  const swarms = RUN.map(swarmOf)
  t.same(new Set(swarms.map(({ volumes }) => volumes)), new Set([1, 2, 3]))
  t.ok(swarms.some(({ deletedAtMs }) => deletedAtMs < Infinity), 'some are deleted')
  t.ok(swarms.some(({ actions }) => actions.includes('renew-copy')), 'copies are renewed')
  t.notOk([3, 9_998, 10_004].some((seed) => swarmOf(seed).isErasing), 'the others are what they were')
  t.end()
})

t.test('no checker complains, and a run is the same when it is run again', (t) => {
  runsWell(t, RUN, 3)
  t.end()
})

for (const bug of PLANTED) {
  t.test(bug.name, (t) => isHunted(t, bug, { seeds: SEEDS, store: 'real', isFound: (one) => one !== undefined }))
}
