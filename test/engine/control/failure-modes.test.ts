/** V8: the table of failure modes: what each asks of a volume of each number of copies. */
import t from 'tap'
import { FAILURE_MODE_NAMES, THRESHOLD_MAX, requiredCopies } from '../../../engine/control/failure-modes.ts'
import type { FailureMode } from '../../../engine/control/failure-modes.ts'
import { wishedMinInSync } from '../../../engine/control/volume-record.ts'
import { recordOf } from './small-cluster.ts'

t.test('V8: how many copies a write needs, of one copy to six', async (t) => {
  const of = (mode: FailureMode) => [1, 2, 3, 4, 5, 6].map((copies) => requiredCopies(mode, copies))
  t.same(of('hard'), [1, 2, 3, 4, 5, 6])
  t.same(of('soft'), [1, 2, 2, 3, 4, 5])
  t.same(of('alwayson'), [1, 1, 1, 1, 1, 1])
  t.same(of(0), [1, 1, 1, 1, 1, 1])
  t.same(of(1), [1, 2, 2, 2, 2, 2])
  t.same(of(5), [1, 2, 3, 4, 5, 6])
  for (const mode of [...FAILURE_MODE_NAMES, ...Array.from({ length: THRESHOLD_MAX + 1 }, (_, n) => n)]) {
    for (let copies = 1; copies <= 6; copies++) {
      const required = requiredCopies(mode, copies)
      t.ok(required >= 1 && required <= copies, `${mode} of ${copies}`)
    }
  }
})

t.test('V8: it follows the number of copies, and a number that is asked for comes first', async (t) => {
  const wished = (replicas: number, change = {}) => wishedMinInSync(recordOf('v', change, { replicas }))
  t.same([0, 1, 2, 3].map((replicas) => wished(replicas, { failureMode: 'hard' })), [1, 2, 3, 4])
  t.same([0, 1, 2, 3].map((replicas) => wished(replicas)), [1, 1, 2, 2], 'without one')
  t.equal(wished(2, { failureMode: 'hard', minInSync: 1 }), 1)
})
