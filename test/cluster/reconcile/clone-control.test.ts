/**
 * Clones, at who decides. The snapshot that a clone of a volume is made of: none is left of one that was refused, or is
 * served. What is asked for again is answered as it is, or refused with the difference.
 */
// test-timeout-seconds: 120
import t from 'tap'
import type { CreateVolumeRequest } from '../../../cluster/api/volume-wish-messages.ts'
import { MIB } from '../../../engine/units.ts'
import { encodeVolume, decodeVolume, volumeKey } from '../../../cluster/store/volume-records.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import { ID, named, request, servedVolume } from './snapshot-world.ts'
import type { SnapshotWorld } from './snapshot-world.ts'

t.setTimeout(110_000)

const clone = (more: Partial<CreateVolumeRequest> = {}, parameters: Record<string, string> = {}) =>
  ({ name: 'c', sizeBytes: 0, parameters: { 'clone-of': 'v-aaaa', ...parameters }, ...more })

t.test('a clone that cannot be made orders no snapshot of its origin', async (t) => {
  const { cluster, elected: { volumes }, volume } = await servedVolume(t)
  const refused = (code: string, request: CreateVolumeRequest) =>
    t.rejects(cluster.answered(volumes.createVolume(request)), { code })
  await refused('clone-smaller', clone({ sizeBytes: 32 * MIB }))
  await refused('parameter', clone({}, { 'block-size': '512' }))
  await refused('too-few-nodes', clone({}, { replicas: '5' }))
  await refused('volume-unplaced', clone({ allowedZones: ['moon'] }))
  const old = cluster.node('n3')
  old.protocol = 6
  for (let i = 0; i < 3; i++) await cluster.round()
  await refused('node-too-old', clone({ labels: { a: 'b' } }))
  t.same(volume.changes, [])
})

t.test('a clone that is refused by what its snapshot shows takes it away again', async (t) => {
  const { cluster, elected: { volumes }, volume, names } = await servedVolume(t)
  // Grown, and its record does not say so yet.
  volume.sizeBytes = 128 * MIB
  const asked = volumes.createVolume(clone({ sizeBytes: 64 * MIB }))
  await t.rejects(cluster.answered(asked), { code: 'clone-smaller', message: /clone of v-aaaa with 64 MiB/ })
  t.same(volume.changes.map(({ operation }) => operation), ['snapshot', 'snapshot-delete'])
  t.same(await names(), [])
  t.equal(await cluster.answered(volumes.getVolume({ name: 'c' }).catch(({ code }) => code)), 'volume-not-found')
})

t.test('a clone that is served late loses its snapshot when it is asked for again', async (t) => {
  const { cluster, elected: { volumes }, volume, names } = await servedVolume(t)
  await t.rejects(cluster.answered(volumes.createVolume(clone())), { code: 'volume-waits' })
  const [own] = await names()
  t.match(own, /^clone-[0-9a-f]{8}$/, 'its copies may need it')
  // They are made by now.
  const { seq } = volume.snapshots[0]!
  for (const { fake } of cluster.nodes.values())
    for (const copy of fake.copies.values()) if (copy.volumeId !== ID) copy.seq = seq
  t.equal((await cluster.answered(volumes.createVolume(clone()))).name, 'c')
  t.same(await names(), [])
})

async function change({ cluster }: SnapshotWorld, id: string, next: (record: VolumeRecord) => VolumeRecord) {
  const { value } = (await cluster.entry(volumeKey(id)))!
  await cluster.put(volumeKey(id), encodeVolume(next(decodeVolume(id, value)!)))
}

t.test('a clone behaves as its origin does', async (t) => {
  const world = await servedVolume(t)
  const { cluster, elected: { volumes } } = world
  const qos = { iops: 500, bandwidthBytes: 0, burstMs: 1000 }
  const own = { minInSync: 3, attachMode: 'single', dataLocality: 'best-effort' } as const
  await change(world, ID, (record) =>
    ({ ...record, ...own, spec: { ...record.spec, ioTimeoutMs: 30_000, onFull: 'error', qos } }))
  await cluster.answered(volumes.createVolume(clone()).catch(() => undefined))
  const made = await cluster.answered(volumes.getVolume({ name: 'c' }))
  const record = decodeVolume(made.id, (await cluster.entry(volumeKey(made.id)))!.value)!
  t.match(record, { ...own, spec: { ioTimeoutMs: 30_000, onFull: 'error', qos } })
})

t.test('asked for again with other options it is refused', async (t) => {
  const { cluster, elected: { volumes }, volume, create } = await servedVolume(t)
  await create(request('monday', 1))
  const said = {
    'attach-mode': 'single', 'failure-mode': 'soft', 'snapshot-schedule': 'every 1h keep-last 3',
    'data-locality': 'best-effort', 'qos-iops': '500', 'qos-burst': '2s', 'clone-of': 'v-aaaa@monday',
  }
  const asked = (parameters: Record<string, string>, more = {}) =>
    cluster.answered(volumes.createVolume(clone({ labels: { a: 'b', c: 'd' }, ...more }, { ...said, ...parameters })))
  await asked({}).catch(() => undefined)
  const { seq } = volume.snapshots[0]!
  for (const { fake } of cluster.nodes.values())
    for (const copy of fake.copies.values()) if (copy.volumeId !== ID) copy.seq = seq
  const others: Array<[Record<string, string>, object, RegExp]> = [
    [{ 'attach-mode': 'open' }, {}, /its attach-mode is single, not open/],
    [{ 'failure-mode': 'hard' }, {}, /its failure-mode is soft, not hard/],
    [{ 'snapshot-schedule': 'none' }, {}, /its snapshot-schedule is every 1h keep-last 3, not none/],
    [{ 'data-locality': 'disabled' }, {}, /its data-locality is best-effort, not disabled/],
    [{ 'qos-burst': '3s' }, {}, /its qos-burst is 2s, not 3s/],
    [{ 'read-check': 'confirm' }, {}, /its read-check is lease, not confirm/],
    [{ 'allow-degraded': 'true' }, {}, /its allow-degraded is false, not true/],
    [{}, { labels: { a: 'b' } }, /it has other labels/],
  ]
  for (const [parameters, more, message] of others)
    await t.rejects(asked(parameters, more), { code: 'volume-exists', message })
  t.equal((await asked({}, { labels: { c: 'd', a: 'b' } })).name, 'c')
  t.equal((await asked({}, { labels: {} })).name, 'c', 'what is not said is not compared')
  const { id } = await cluster.answered(volumes.getSnapshot({ volume: 'v-aaaa', name: 'monday' }))
  await cluster.answered(volumes.deleteSnapshot({ ...named('monday'), id: '' }))
  t.equal((await asked({ 'clone-of': `${ID}@${id}` })).name, 'c', 'by ids it is known what it is a clone of')
  await t.rejects(asked({ 'clone-of': `${ID}@${ID}` }), { code: 'snapshot-not-found' })
  await t.rejects(asked({}), { code: 'snapshot-not-found' }, 'a name that is gone may have been of another one')
})
