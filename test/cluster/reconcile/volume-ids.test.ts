/** What is asked for by name is taken by its id too, by every RPC of a volume; and labels are kept with it. */
// test-timeout-seconds: 120
import t from 'tap'
import { MIB } from '../../../engine/units.ts'
import { ControlCluster } from './control-cluster.ts'

t.setTimeout(110_000)

t.test('a volume and its snapshots by id', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  await cluster.until('one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  const { volumes } = cluster.elected()[0]!
  const labels = { 'csi-name': 'PVC 1', 'csi-pvc': 'data-db-0', 'csi-pvc-namespace': 'shop' }
  const request = { name: 'data', sizeBytes: 64 * MIB, parameters: {}, labels }
  const made = await cluster.answered(volumes.createVolume(request))
  t.same(made.labels, labels)
  const { id } = made
  const name = id
  const ask = <T>(asked: Promise<T>): Promise<T> => cluster.answered(asked)
  t.match(await volumes.getVolume({ name }), { id, name: 'data', labels })
  t.match(await ask(volumes.resizeVolume({ name, sizeBytes: 128 * MIB })), { id, sizeBytes: 128 * MIB, labels })
  t.match(await volumes.explainVolume({ name }), { health: 'healthy' })
  t.match(await ask(volumes.attachVolume({ name, node: 'n1', mode: '', force: false })), { id })
  await t.rejects(volumes.attachVolume({ name, node: 'n2', mode: '', force: false }), {
    code: 'volume-attached', message: /^volume data is attached to n1/,
  })
  t.match(await volumes.detachVolume({ name, node: 'n1' }), { id })
  await cluster.round()

  const snapshotId = 'c'.repeat(32)
  const wish = { volume: id, name: 'first', labels: {}, id: snapshotId }
  const first = await ask(volumes.createSnapshot(wish))
  t.match(first, { volume: 'data', volumeId: id, id: snapshotId })
  t.same(await ask(volumes.getSnapshot({ volume: id, name: snapshotId })), first)
  t.same((await ask(volumes.listSnapshots({ volume: id, limit: 0, after: '' }))).snapshots, [first])
  const group = { name: 'g', volumes: [id, 'data'], labels: {}, id: 'd'.repeat(32) }
  await t.rejects(ask(volumes.createGroup(group)), { code: 'parameter', message: /"data" is not allowed/ })
  await ask(volumes.deleteSnapshot({ volume: id, name: snapshotId, id: '' }))
  await t.rejects(ask(volumes.getSnapshot({ volume: id, name: snapshotId })), { code: 'snapshot-not-found' })
  await t.rejects(ask(volumes.createSnapshot({ ...wish, name: 'ab'.repeat(16) })), { code: 'snapshot-name' })

  await volumes.deleteVolume({ name, force: false })
  await t.rejects(volumes.getVolume({ name }), { code: 'volume-not-found' }, 'in the trash it is gone')
  await t.rejects(volumes.deleteVolume({ name, force: false }), { code: 'volume-not-found' })
  t.match(await volumes.restoreVolume({ name }), { id, name: 'data', labels })
  await t.rejects(volumes.restoreVolume({ name }), { code: 'volume-kept', message: /^volume data is not in the trash/ })
  await volumes.deleteVolume({ name: 'data', force: false })
  const { id: second } = await ask(volumes.createVolume(request))
  t.not(second, id)
  t.match(await volumes.getVolume({ name: 'data' }), { id: second }, 'the name is of the newer one, the id is not')
  await volumes.purgeVolume({ name })
  await t.rejects(volumes.restoreVolume({ name }), { code: 'volume-purged' })
  const like = { ...request, name: 'f'.repeat(32) }
  await t.rejects(volumes.createVolume(like), { code: 'volume-name', message: /not 32 hex digits/ })
})
