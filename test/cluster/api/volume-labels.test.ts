/** Labels of volumes: what Kubernetes' names need fits, and nothing that could not be shown on a line, or grows. */
import t from 'tap'
import { LABELS_MAX, checkVolumeLabels, withLabels } from '../../../cluster/api/volume-labels.ts'
import { VALUE_BYTES_MAX } from '../../../cluster/store/cluster-store.ts'
import { encodeJson } from '../../../cluster/store/json-value.ts'
import { recordOf } from '../../engine/control/small-cluster.ts'

t.test('names of Kubernetes and of CSI are taken as they are', async (t) => {
  const given = { 'csi-pvc': 'Data 1/Ä', 'csi-name': 'a'.repeat(128), app: '', 'example.org/tier': 'x'.repeat(253) }
  t.same(checkVolumeLabels(given), given)
  t.same(Object.keys(checkVolumeLabels({ b: '', a: '' })!), ['a', 'b'], 'equal wishes are equal records')
  t.equal(checkVolumeLabels({}), undefined)
  t.equal(checkVolumeLabels(), undefined)
})

t.test('the most and longest ones are a small part of a value of the store', async (t) => {
  const labels = Object.fromEntries(Array.from({ length: LABELS_MAX }, (_, i) => [
    `${i}`.padEnd(63, 'x'), '"'.repeat(253),
  ]))
  t.same(checkVolumeLabels(labels), labels)
  t.ok(encodeJson(labels).length < VALUE_BYTES_MAX / 4)
})

t.test('refused by name', async (t) => {
  const refused: Array<[what: string, labels: Record<string, string>]> = [
    ['too many', Object.fromEntries(Array.from({ length: LABELS_MAX + 1 }, (_, i) => [`k${i}`, '']))],
    ['no key', { '': 'x' }],
    ['a key of blanks', { 'a b': 'x' }],
    ['a key that is too long', { ['k'.repeat(64)]: 'x' }],
    ['one of ours', { 'holdfast.io/x': 'x' }],
    ['a value that is too long', { a: 'x'.repeat(254) }],
    ['a value that is too long in bytes', { a: 'Ä'.repeat(127) }],
    ['a value of two lines', { a: 'x\ny' }],
    ['a value that moves the cursor', { a: '\u001b[2J' }],
  ]
  for (const [what, labels] of refused) t.throws(() => checkVolumeLabels(labels), { code: 'parameter' }, what)
})

t.test('of a volume that is there some are set, some taken out, others kept', async (t) => {
  const record = recordOf('v', { labels: { app: '', tier: 'db' } })
  t.same(withLabels(record, { 'csi-pod': 'db-0', tier: '' }).labels, { 'app': '', 'csi-pod': 'db-0' })
  t.same(withLabels(recordOf('v', { labels: { tier: 'db' } }), { tier: '' }), recordOf('v'), 'none is no field')
  t.equal(withLabels(record), record)
  t.throws(() => withLabels(record, { 'a b': 'x' }), { code: 'parameter' })
  const many = Object.fromEntries(Array.from({ length: LABELS_MAX }, (_, i) => [`k${i}`, 'x']))
  t.throws(() => withLabels(record, many), { code: 'parameter' }, 'all of them count')
})
