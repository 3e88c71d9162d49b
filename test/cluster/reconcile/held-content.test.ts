/** Risk: a volume of which nothing is known, or a clone without blocks of its own, is told as blank, and formatted. */
// test-timeout-seconds: 120
import t from 'tap'
import type { CopyStatus } from '../../../engine/control/node-status.ts'
import { ID, servedVolume } from './snapshot-world.ts'

t.setTimeout(110_000)

t.test('blank is what the one that leads says, of itself and of what it shares with', async (t) => {
  const { cluster, elected: { volumes }, primary } = await servedVolume(t)
  const told = async (of: Partial<CopyStatus>): Promise<string> => {
    const copy = primary.fake.copies.get(ID)!
    const before = { ...copy }
    Object.assign(copy, of)
    for (let i = 0; i < 2; i++) await cluster.round()
    const { holds } = await cluster.answered(volumes.getVolume({ name: 'v-aaaa' }))
    Object.assign(copy, before)
    return holds
  }
  t.equal(await told({}), 'nothing')
  t.equal(await told({ logicalBytes: 4096 }), 'data')
  t.equal(await told({ sharedSlices: 3, sharedBytes: 4096 }), 'shared', 'a clone of what holds something')
  t.equal(await told({ sharedSlices: 3, sharedBytes: 0 }), 'nothing', 'a clone of what is blank')
  t.equal(await told({ sharedSlices: 3, logicalBytes: 4096 }), 'data')
  t.equal(await told({ lostSlices: 1 }), '', 'what went with a disk is not known')
  t.equal(await told({ isConsistent: false }), '')
  t.equal(await told({ copyId: 'of-before' }), '', 'another copy')
})

t.test('after an election it is not known until who leads the volume has told', async (t) => {
  const { cluster, elected, primary } = await servedVolume(t)
  primary.fake.copies.get(ID)!.logicalBytes = 4096
  for (let i = 0; i < 2; i++) await cluster.round()
  // Its data side lives on, and nobody hears of it.
  cluster.stall(primary.name)
  cluster.stall(elected.name)
  await cluster.until('another one decides', () =>
    cluster.elected()[0]?.control.controller.term()?.cluster.volumes.has(ID) === true)
  const { volumes } = cluster.elected()[0]!
  const shown = () => cluster.answered(volumes.getVolume({ name: 'v-aaaa' }))
  t.match(await shown(), { holds: '', logicalBytes: 0 })
  cluster.goOn(primary.name)
  await cluster.until('it is heard', async () => (await shown()).holds !== '')
  t.match(await shown(), { holds: 'data', logicalBytes: 4096 })
})
