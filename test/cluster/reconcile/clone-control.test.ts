/** The snapshot that a clone of a volume is made of: none is left of a clone that was refused, or is served. */
// test-timeout-seconds: 120
import t from 'tap'
import type { CreateVolumeRequest } from '../../../cluster/api/volume-wish-messages.ts'
import { MIB } from '../../../engine/units.ts'
import { ID, servedVolume } from './snapshot-world.ts'

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
