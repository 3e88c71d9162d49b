/** Names and ids of Kubernetes and of ours: what is the same stays the same, and nothing foreign is taken for ours. */
import fc from 'fast-check'
import t from 'tap'
import { isName } from '../../cluster/api/names.ts'
import {
  checkCsiName, groupHandle, groupIdOf, isVolumeId, ourName, parseGroupHandle, parseSnapshotHandle, requestDigest,
  snapshotHandle, snapshotIdOf,
} from '../../csi/names.ts'

const id = fc.stringMatching(/^[0-9a-f]{32}$/)

t.test('a CSI name is always a name of ours, and two never the same one', (t) => {
  fc.assert(fc.property(fc.string({ minLength: 1, maxLength: 128 }), fc.string({ minLength: 1 }), (a, b) => {
    t.ok(isName(ourName(a)) && !isVolumeId(ourName(a)), a)
    t.equal(ourName(a), ourName(a))
    if (a !== b) t.not(ourName(a), ourName(b))
  }), { numRuns: 200 })
  const hashed = ourName('PVC')
  t.match(hashed, /^csi-[0-9a-f]{32}$/)
  t.not(ourName(hashed), hashed, 'who asks for that name by itself gets another one')
  t.equal(ourName('pvc-0f1e'), 'pvc-0f1e')
  t.not(ourName('a'.repeat(64)), 'a'.repeat(64))
  t.match(ourName('0123456789abcdef0123456789abcdef'), /^csi-/, 'an id is no name')
  t.end()
})

t.test('a name has 1 to 128 bytes', (t) => {
  checkCsiName('x'.repeat(128), 'volume')
  t.throws(() => checkCsiName('', 'volume'), { message: /missing/, code: 3 })
  t.throws(() => checkCsiName('\u00e9'.repeat(65), 'volume'), { message: /130 bytes/, code: 3 })
  t.end()
})

t.test('handles are read as they were written, and nothing else is', (t) => {
  fc.assert(fc.property(id, id, (volumeId, snapshotId) => {
    t.same(parseSnapshotHandle(snapshotHandle({ volumeId, snapshotId })), { volumeId, snapshotId })
    t.same(parseGroupHandle(groupHandle({ name: 'g-1', id: snapshotId })), { name: 'g-1', id: snapshotId })
  }))
  fc.assert(fc.property(fc.string(), (text) => {
    t.equal(isVolumeId(text) || parseSnapshotHandle(text) !== undefined, false)
  }))
  const one = 'a'.repeat(32)
  for (const text of ['', '.', one, `${one}.`, `${one}.${one}.${one}`, `${one}.${one.toUpperCase()}`]) {
    t.equal(parseSnapshotHandle(text), undefined, text)
  }
  t.equal(isVolumeId(one.toUpperCase()), false)
  t.end()
})

t.test('ids of snapshots and groups follow from what is asked', (t) => {
  t.not(snapshotIdOf('a', 'b'), snapshotIdOf('a', 'c'))
  t.not(snapshotIdOf('a', 'bc'), snapshotIdOf('ab', 'c'))
  t.equal(groupIdOf('g', ['x', 'y']), groupIdOf('g', ['y', 'x']))
  t.not(groupIdOf('g', ['x']), groupIdOf('g', ['x', 'y']))
  t.equal(requestDigest({ a: '1', b: '2' }, ''), requestDigest({ b: '2', a: '1' }, ''))
  t.not(requestDigest({ a: '1' }, ''), requestDigest({ a: '1' }, 'x'))
  t.not(requestDigest({ a: '1', b: '2' }, ''), requestDigest({ a: '1b', '2': '' }, ''))
  t.end()
})
