/** Risk: a disk that somebody made, with checksums that fit, ends the node by what its control records hold. */
import t from 'tap'
import { decodeDescriptor, encodeDescriptor } from '../../../engine/volume/descriptor.ts'
import type { VolumeDescriptor } from '../../../engine/volume/descriptor.ts'
import { newCopyPart } from '../../../engine/volume/copy-part.ts'
import { decodeLeaf } from '../../../engine/volume/snapshot-leaves.ts'
import { descriptorOf } from '../../cli/offline-disk.ts'

const ID = 'a1'.repeat(16)
const snapshot = { id: ID, seq: 3, pinnedBy: null, title: { name: 's', createdAtMs: 1, labels: {} } }
const plain = descriptorOf(ID, {
  name: 'v', slices: [[ID, 0, [[0, 1, 1]]]], snapshots: [snapshot], rollbacks: [[1, 2]], origin: [ID, 4],
})
const copied: VolumeDescriptor = {
  ...plain, epochs: [], copy: { ...newCopyPart('c'), windows: [[1, 2, 3, 4, [[5, 0]]]], pins: [[ID, 3]] },
}
const bytesOf = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))

t.test('what is written is read, also what earlier versions left out and later ones add', async (t) => {
  for (const one of [plain, copied]) t.same(decodeDescriptor(encodeDescriptor(one)), one)
  const { sizeBytes: _, ...earlier } = { ...snapshot, sizeBytes: 1 }
  t.ok(decodeDescriptor(bytesOf({ ...plain, snapshots: [earlier], later: { x: 1 } })))
})

t.test('every place of it holding something else is a descriptor, or none, and never half of one', async (t) => {
  const wrong: unknown[] = [null, -1, 1.5, 'x', [], {}, [[1]], [null], { x: null }]
  let refused = 0
  for (const name of ['spec', 'epoch', 'epochs', 'slices', 'snapshots', 'rollbacks', 'deleted', 'seq', 'copy'])
    for (const value of wrong) if (decodeDescriptor(bytesOf({ ...copied, [name]: value })) === undefined) refused++
  t.ok(refused > 70, `${refused} refused`)
  for (const slices of [[[ID, 0]], [[ID, 0, [[0, 1]]]], [[ID, 0, [0]]], [[1, 0, []]]])
    t.equal(decodeDescriptor(bytesOf({ ...plain, slices })), undefined)
  t.equal(decodeDescriptor(bytesOf({ ...plain, epochs: [] })), undefined, 'a volume of one copy has an epoch')
  for (const id of ['', 'x', ID.toUpperCase(), `${ID}0`])
    t.equal(decodeDescriptor(bytesOf({ ...plain, spec: { ...plain.spec, id } })), undefined, 'its id is 32 hex digits')
  const changes = [{ operation: 'x' }, { operation: 'resize' }, { operation: 'constructor' }, { operation: 'rollback' }]
  for (const change of changes)
    t.equal(decodeDescriptor(bytesOf({ ...copied, copy: { ...copied.copy, change } })), undefined)
})

t.test('a part of a list of snapshots', async (t) => {
  t.same(decodeLeaf(bytesOf({ format: 1, snapshots: [snapshot] })), [snapshot])
  for (const snapshots of [[null], [{ id: 1 }], [{ ...snapshot, seq: -1 }], [{ ...snapshot, title: {} }], {}])
    t.equal(decodeLeaf(bytesOf({ format: 1, snapshots })), undefined)
})
