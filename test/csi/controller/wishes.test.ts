/** Sizes, capabilities, secrets: what a request asks for, and what it is refused with. */
import fc from 'fast-check'
import { inspect } from 'node:util'
import t from 'tap'
import { accessOf, accessesOf, attachModeOf } from '../../../csi/controller/capabilities.ts'
import { checkToken, pageLength } from '../../../csi/controller/pages.ts'
import { isWithin, newSizeWithin, sizeWithin } from '../../../csi/controller/sizes.ts'
import { keyOfSecrets } from '../../../csi/encryption-key.ts'
import type { AccessModeName, VolumeCapability } from '../../../csi/messages.ts'
import { nodesIn, topologyOf } from '../../../csi/topology.ts'
import { volumeCondition } from '../../../csi/volume-condition.ts'
import type { Node } from '../../../cluster/api/node-messages.ts'
import { GIB, MIB, VOLUME_BYTES_MAX } from '../../../engine/units.ts'

t.test('a size is whole MiB, upwards, and within what was asked for', (t) => {
  const bytes = fc.integer({ min: 0, max: VOLUME_BYTES_MAX })
  fc.assert(fc.property(bytes, bytes, bytes, (requiredBytes, limitBytes, least) => {
    const range = { requiredBytes, limitBytes }
    let size = 0
    try {
      size = sizeWithin(range, least)
    } catch (error) {
      const { code } = error as { code: number }
      const isPossible = limitBytes === 0 || Math.ceil(Math.max(requiredBytes, least, 1) / MIB) * MIB <= limitBytes
      t.ok(code === 3 ? limitBytes > 0 && requiredBytes > limitBytes : code === 11 && !isPossible)
      return
    }
    t.ok(size % MIB === 0 && size > 0 && size >= least && isWithin(size, range))
    t.ok(size - Math.max(requiredBytes, least) < MIB || requiredBytes === 0)
  }))
  t.equal(sizeWithin(null, 0), GIB)
  t.equal(sizeWithin({ requiredBytes: 1, limitBytes: 0 }, 0), MIB)
  const upTo = (limitBytes: number, least = 0): number => sizeWithin({ requiredBytes: 0, limitBytes }, least)
  t.equal(upTo(5 * GIB), GIB, 'as where nothing is asked for')
  t.equal(upTo(5 * MIB + 1), 5 * MIB, 'or as much as may be')
  t.equal(upTo(5 * GIB, 3 * MIB), 3 * MIB, 'what is there already has its size')
  t.throws(() => upTo(MIB - 1), { code: 11, message: /at least 1048576 bytes/ })
  t.equal(sizeWithin({ requiredBytes: 0, limitBytes: 0 }, 3 * MIB), 3 * MIB)
  const refused = { code: 11, message: /rounded up/ }
  t.throws(() => sizeWithin({ requiredBytes: MIB + 1, limitBytes: 2 * MIB - 1 }, 0), refused)
  t.throws(() => sizeWithin({ requiredBytes: 2 ** 60, limitBytes: 0 }, 0), { code: 11, message: /64 TiB/ })
  t.throws(() => sizeWithin({ requiredBytes: -1, limitBytes: 0 }, 0), { code: 3 })
  t.throws(() => sizeWithin({ requiredBytes: MIB, limitBytes: 2 * MIB }, 3 * MIB), { code: 11, message: /at least/ })
  t.end()
})

t.test('a new volume is as large as its file system needs, where the limit lets it be', (t) => {
  const asked = (requiredBytes: number, limitBytes: number, ...made: Array<'ext4' | 'xfs' | undefined>): number =>
    newSizeWithin({ requiredBytes, limitBytes }, made)
  t.equal(asked(64 * MIB, 0, 'xfs'), 300 * MIB)
  t.equal(asked(64 * MIB, 300 * MIB, undefined, 'xfs'), 300 * MIB)
  t.equal(asked(64 * MIB, 0, 'ext4', undefined), 64 * MIB)
  t.equal(asked(301 * MIB, 0, 'xfs'), 301 * MIB)
  t.equal(asked(0, 0, 'xfs'), GIB, 'the usual size')
  t.equal(newSizeWithin(null, ['xfs']), GIB)
  for (const requiredBytes of [0, 64 * MIB]) {
    const refused = { code: 11, message: /xfs has at least 300 MiB: .*limit.*ext4/ }
    t.throws(() => asked(requiredBytes, 300 * MIB - 1, 'xfs'), refused)
  }
  t.end()
})

const mounted = (mode: AccessModeName, fsType = ''): VolumeCapability =>
  ({ mount: { fsType, mountFlags: [], volumeMountGroup: '' }, accessMode: { mode } })
const block = (mode: AccessModeName): VolumeCapability => ({ block: {}, accessMode: { mode } })

t.test('access modes: one writer, many readers, many writers of a block device', (t) => {
  t.same(accessOf(mounted('SINGLE_NODE_WRITER', 'xfs')), { isBlock: false, mode: 'single', fileSystem: 'xfs' })
  t.same(accessOf(mounted('SINGLE_NODE_SINGLE_WRITER')).mode, 'single')
  t.same(accessOf(mounted('SINGLE_NODE_MULTI_WRITER')).mode, 'single')
  t.same(accessOf(mounted('MULTI_NODE_READER_ONLY')).mode, 'read-only')
  t.same(accessOf(block('MULTI_NODE_MULTI_WRITER')), { isBlock: true, mode: 'shared', fileSystem: undefined })
  t.equal(attachModeOf(accessOf(block('SINGLE_NODE_WRITER')), true), 'read-only')
  const refused = (capability: VolumeCapability | null, message: RegExp): void => {
    t.throws(() => accessOf(capability), { code: 3, message })
  }
  refused(mounted('MULTI_NODE_MULTI_WRITER'), /destroy each other's data; use ReadWriteOnce/)
  refused(mounted('MULTI_NODE_SINGLE_WRITER'), /MULTI_NODE_SINGLE_WRITER is not supported/)
  refused(mounted('SINGLE_NODE_WRITER', 'btrfs'), /file system "btrfs"/)
  refused({ accessMode: { mode: 'SINGLE_NODE_WRITER' } }, /no access type/)
  refused({ block: {}, accessMode: null }, /no access mode/)
  refused({ block: {}, accessMode: { mode: 99 } }, /access mode 99 is not supported/)
  refused(null, /missing/)
  t.throws(() => accessesOf([]), { code: 3 })
  t.end()
})

t.test('a key comes as hex or base64, is shown nowhere, and nothing else is one', (t) => {
  const hex = 'ab'.repeat(32)
  const key = keyOfSecrets({ 'encryption-key': hex })!
  t.equal(key.id, keyOfSecrets({ 'encryption-key': `${Buffer.from(hex, 'hex').toString('base64')}\n` })!.id)
  t.notMatch(inspect(key, { depth: 9 }), /abab|171, 171/)
  t.equal(keyOfSecrets({}), undefined)
  t.equal(keyOfSecrets({ other: hex }), undefined)
  for (const text of ['', 'secret', 'x'.repeat(32), hex.slice(1), `${hex}00`]) {
    t.throws(() => keyOfSecrets({ 'encryption-key': text }), { code: 3, message: /^(?!.*secret-?x)the secret's/ })
  }
  t.end()
})

t.test('pages have a length and a token that was given here', (t) => {
  t.equal(pageLength(0), 100)
  t.equal(pageLength(3), 3)
  t.equal(pageLength(10_000), 100)
  t.throws(() => pageLength(-1), { code: 3 })
  checkToken('', () => false)
  t.throws(() => checkToken('x', () => false), { code: 10 })
  t.end()
})

t.test('a segment names nodes by node and by zone', (t) => {
  const nodes = [['n1', 'a'], ['n2', 'a'], ['n3', '']].map(([name, zone]) => ({ name, zone }) as Node)
  const named = (segments: Record<string, string>): string[] => nodesIn({ segments }, nodes).map(({ name }) => name)
  t.same(named(topologyOf(nodes[0]!).segments), ['n1'])
  t.same(named({ 'topology.csi.holdfast.io/zone': 'a' }), ['n1', 'n2'])
  t.same(named(topologyOf(nodes[2]!).segments), ['n3'])
  t.same(named({ 'topology.kubernetes.io/zone': 'a' }), [])
  t.same(named({}), ['n1', 'n2', 'n3'])
  t.end()
})

t.test('health is told as normal or abnormal, with the reason and where to look', (t) => {
  const told = (health: 'healthy' | 'suspended') => volumeCondition({ name: 'v', health, healthReason: 'pool-full' })
  t.same(volumeCondition({ name: 'v', health: 'healthy', healthReason: '' }).abnormal, false)
  const message = /^suspended, its I\/O is held: pool-full; `holdfast explain v`/
  t.match(told('suspended'), { abnormal: true, message })
  t.end()
})
