/** Nothing new is placed on a disk that is suspect; what lies there is served. */
import t from 'tap'
import { GIB } from '../../../engine/units.ts'
import { StoreWorld } from '../../sim/store-world.ts'

t.test('a copy goes to the other disks, and nowhere when there are none', (t) => {
  const world = new StoreWorld({ seed: 1, disks: 2, segments: 24 })
  const store = world.open()
  const [first, second] = store.disks().map(({ uuid }) => uuid) as [string, string]
  const make = (id: string): string[] | string => {
    let placed: string[] | string | undefined
    const spec = { ...world.spec(id, 4 * GIB), id: id.padStart(32, '0') }
    store.createCopy(spec, `copy of ${id}`, (made) => {
      placed = made.ok
        ? made.value.copy.targets.map(({ stream }) => stream.context.diskUuid)
        : made.error.code
    })
    world.clock.runUntil(() => placed !== undefined)
    return placed!
  }
  t.same(make('a'), [first, second])
  store.suspectDisk(first, 'so')
  t.match(store.disks(), [{ state: 'suspect', reason: 'so' }, { state: 'online', reason: '' }])
  t.same(make('b'), [second])
  store.suspectDisk(second, 'too')
  t.equal(make('c'), 'pool-not-found')
  t.ok(store.copies().get('a'.padStart(32, '0'))!.copy.failedReason === '', 'what was there goes on')
  t.end()
})
