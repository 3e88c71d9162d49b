/** Records of the cluster store: what is written is read, and what is none is not believed. */
import t from 'tap'
import { GROUP_VOLUMES_MAX } from '../../../cluster/api/group-request.ts'
import { decodeAge, encodeAge } from '../../../cluster/store/cluster-age.ts'
import { decodeDiskWish, encodeDiskWish } from '../../../cluster/store/disk-wishes.ts'
import { decodeBeatBody, encodeBeatBody } from '../../../cluster/membership/beat-body.ts'
import { decodeDescribedNode, digestOf } from '../../../cluster/store/node-descriptions.ts'
import { decodeRemoved } from '../../../cluster/store/removed-nodes.ts'
import { decodeNode, encodeNode } from '../../../cluster/store/node-records.ts'
import { decodeName, encodeName } from '../../../cluster/store/volume-names.ts'
import { decodeNodeWish, encodeNodeWish } from '../../../cluster/store/node-wishes.ts'
import { decodeMove, encodeMove } from '../../../cluster/store/volume-moves.ts'
import { decodeGroup, encodeGroup } from '../../../cluster/store/snapshot-groups.ts'
import { decodeRebuilds, encodeRebuilds } from '../../../cluster/store/rebuild-records.ts'
import { decodeVolume, encodeVolume } from '../../../cluster/store/volume-records.ts'
import type { GroupRecord } from '../../../engine/control/snapshot-group.ts'
import type { Move, VolumeRecord } from '../../../engine/control/volume-record.ts'
import { REBUILDS_MOST } from '../../../engine/control/control-options.ts'
import type { RebuildTable } from '../../../engine/control/rebuild-table.ts'
import { VALUE_BYTES_MAX } from '../../../cluster/store/cluster-store.ts'
import { MIB, VOLUME_BYTES_MAX } from '../../../engine/units.ts'

const ID = 'a'.repeat(32)
const RECORD: VolumeRecord = {
  spec: {
    id: ID, name: 'data-1', sizeBytes: VOLUME_BYTES_MAX, blockSizeBytes: 512, replicas: 2, durability: 'writeback',
    onFull: 'error', ioTimeoutMs: 0, pool: 'default', diskTags: ['ssd'],
  },
  minInSync: 0,
  allowDegraded: true,
  firstNode: '',
  attachMode: 'open',
  trash: { deletedAtAgeMs: 7, keepMs: 3_600_000, isPurging: false },
}
const KEEP = { last: 1, hourly: 0, daily: 2, weekly: 0 }
const MOVE: Move = { what: 'copy', to: 'n2', from: '' }
const MEMBER = { volumeId: ID, expected: { epoch: 2 ** 32 - 1, seq: 2 ** 48 - 1 }, seq: 0, sizeBytes: VOLUME_BYTES_MAX }
const GROUP: GroupRecord = {
  name: 'g', id: ID, state: 'taking', snapshotId: 'b'.repeat(32), labels: { app: 'db' }, createdAtMs: 2 ** 45,
  members: [MEMBER],
}
const REBUILDS: RebuildTable = [{ volumeId: ID, to: 'n3', from: 'n1', why: 'move' }]

const DESCRIBED = {
  name: 'n1', nodeId: ID, clusterId: ID, zone: '', startNumber: 1, era: 0, met: ['n2'], digest: 'd', disks: [],
  copyCount: 0, ask: '',
}

const bytes = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))

t.test('what a newer version wished of a volume is carried along', async (t) => {
  const value = { ...RECORD, spec: { ...RECORD.spec, tier: { warm: true } }, place: ['z1'] }
  const record = decodeVolume(ID, bytes(value))!
  t.same(record, value)
  t.same(decodeVolume(ID, encodeVolume({ ...record, trash: null })), { ...value, trash: null })
})

t.test('what is written is read', async (t) => {
  t.same(decodeVolume(ID, encodeVolume(RECORD)), RECORD)
  t.same(decodeVolume(ID, encodeVolume({ ...RECORD, trash: null })), { ...RECORD, trash: null })
  const qos = { iops: 500, bandwidthBytes: 2 ** 40, burstMs: 1000 }
  const limited = { ...RECORD, spec: { ...RECORD.spec, qos } }
  t.same(decodeVolume(ID, encodeVolume(limited)), limited)
  const packed = { ...RECORD, spec: { ...limited.spec, compression: 'lz4' as const } }
  t.same(decodeVolume(ID, encodeVolume(packed)), packed)
  const confirmed: VolumeRecord = { ...RECORD, spec: { ...RECORD.spec, readCheck: 'confirm' } }
  t.same(decodeVolume(ID, encodeVolume(confirmed)), confirmed)
  const origin = { volumeId: ID, snapshotId: 's', seq: 3, epoch: 2 }
  const wished: VolumeRecord = { ...RECORD, origin, hydration: 'depth' }
  t.same(decodeVolume(ID, encodeVolume(wished)), wished)
  const labelled = { ...RECORD, labels: { 'csi-name': 'pvc-1', 'csi-pvc': 'Ä b' } }
  t.same(decodeVolume(ID, encodeVolume(labelled)), labelled)
  const bound = { ...RECORD, allowed: { nodes: ['n1'], zones: [] }, dataLocality: 'strict' as const }
  t.same(decodeVolume(ID, encodeVolume(bound)), bound)
  for (const failureMode of ['hard', 'soft', 'alwayson', 0, 5] as const) {
    const moded: VolumeRecord = { ...RECORD, failureMode }
    t.same(decodeVolume(ID, encodeVolume(moded)), moded)
  }
  const planned = { ...RECORD, snapshotSchedule: { everyMs: 60_000, keep: KEEP } }
  t.same(decodeVolume(ID, encodeVolume(planned)), planned)
  t.equal(decodeName(encodeName(ID)), ID)
  const wish = { isCordoned: true, isDraining: false }
  t.same(decodeNodeWish(encodeNodeWish(wish)), wish)
  t.same(decodeDiskWish(encodeDiskWish({ isEvicted: true })), { isEvicted: true })
  t.same(decodeMove(encodeMove(MOVE)), MOVE)
  const following: Move = { what: 'primary', to: 'n2', from: '', isFollowing: true }
  t.same(decodeMove(encodeMove(following)), following)
  t.equal(decodeMove(bytes({ ...following, what: 'copy' })), undefined)
  t.same(decodeGroup('g', encodeGroup(GROUP)), GROUP)
  t.same(decodeRebuilds(encodeRebuilds(REBUILDS)), REBUILDS)
  t.same(decodeRebuilds(encodeRebuilds([])), [])
  const node = { name: 'n1', nodeId: 'x', zone: '' }
  t.same(decodeNode('n1', encodeNode(node)), node)
  const body = { peer: '127.0.0.1:1', api: '127.0.0.1:2', nodeId: 'x', clusterId: 'c', instance: 'i', version: '0.1.0' }
  t.same(decodeBeatBody(encodeBeatBody(body)), body)
  t.same(decodeBeatBody(encodeBeatBody({ ...body, workers: 2 })), { ...body, workers: 2 })
  t.same(decodeBeatBody(encodeBeatBody({ ...body, protocol: 6 })), { ...body, protocol: 6 })
  for (const peer of ['x:99999', 'garbage', '', 1]) {
    t.equal(decodeBeatBody(JSON.stringify({ ...body, peer })), undefined)
    t.equal(decodeBeatBody(JSON.stringify({ ...body, api: peer })), undefined)
  }
  for (const protocol of [0, 1.5, '2']) t.equal(decodeBeatBody(JSON.stringify({ ...body, protocol })), undefined)
  for (const workers of [0, 17, 1.5, '2']) t.equal(decodeBeatBody(JSON.stringify({ ...body, workers })), undefined)
  t.equal(decodeAge(encodeAge(61_000.7)), 61_000, 'the age is in whole milliseconds, and never ahead')
})

t.test('the largest table of rebuilds is one value', async (t) => {
  const node = 'n'.repeat(63)
  const full: RebuildTable = Array.from({ length: REBUILDS_MOST }, () =>
    ({ volumeId: ID, to: node, from: node, why: 'rebalance' }))
  t.ok(encodeRebuilds(full).length <= VALUE_BYTES_MAX)
  t.same(decodeRebuilds(encodeRebuilds(full)), full)
  t.equal(decodeRebuilds(encodeRebuilds([...full, full[0]!])), undefined, 'a longer one is nobody\'s of ours')
})

t.test('the largest group is one value', async (t) => {
  const text = 'x'.repeat(63)
  const labels = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`${i}`.padEnd(63, 'x'), text]))
  const members = Array.from({ length: GROUP_VOLUMES_MAX }, () => ({ ...MEMBER, seq: 2 ** 48 - 1 }))
  t.ok(encodeGroup({ ...GROUP, name: text, labels, members }).length <= VALUE_BYTES_MAX)
})

t.test('a group is not believed', async (t) => {
  const groups: Array<[string, unknown]> = [
    ['of another name', { ...GROUP, name: 'h' }],
    ['in an unknown state', { ...GROUP, state: 'held' }],
    ['without an id', { ...GROUP, id: '' }],
    ['without a snapshot', { ...GROUP, snapshotId: 's' }],
    ['of nobody', { ...GROUP, members: [] }],
    ['of a name', { ...GROUP, members: [{ ...MEMBER, volumeId: 'data-1' }] }],
    ['judged on nothing', { ...GROUP, members: [{ ...MEMBER, expected: null }] }],
    ['with half a seq', { ...GROUP, members: [{ ...MEMBER, seq: 0.5 }] }],
    ['with labels of numbers', { ...GROUP, labels: { app: 1 } }],
    ['that is a list', []],
  ]
  for (const [what, value] of groups) t.equal(decodeGroup('g', bytes(value)), undefined, what)
  t.equal(decodeGroup('g', Buffer.from('{')), undefined)
})

t.test('a volume that was moved from wherever it was is one', async (t) => {
  const record = { ...RECORD, moved: { from: '', to: 'n2' } }
  t.same(decodeVolume(ID, encodeVolume(record)), record)
})

t.test('anything else is not believed', async (t) => {
  const { spec } = RECORD
  const volumes: Array<[string, unknown]> = [
    ['another volume', { ...RECORD, spec: { ...spec, id: 'b'.repeat(32) } }],
    ['no spec', { ...RECORD, spec: undefined }],
    ['a size between', { ...RECORD, spec: { ...spec, sizeBytes: MIB + 1 } }],
    ['no size', { ...RECORD, spec: { ...spec, sizeBytes: 0 } }],
    ['an unknown block size', { ...RECORD, spec: { ...spec, blockSizeBytes: 1024 } }],
    ['tags of numbers', { ...RECORD, spec: { ...spec, diskTags: [3] } }],
    ['a check that is none', { ...RECORD, spec: { ...spec, readCheck: 'lease' } }],
    ['a compression that is none', { ...RECORD, spec: { ...spec, compression: 'none' } }],
    ['limits that are none', { ...RECORD, spec: { ...spec, qos: 500 } }],
    ['limits without a burst', { ...RECORD, spec: { ...spec, qos: { iops: 500, bandwidthBytes: 0, burstMs: 0 } } }],
    ['half a request a second', { ...RECORD, spec: { ...spec, qos: { iops: 0.5, bandwidthBytes: 0, burstMs: 9 } } }],
    ['an unknown durability', { ...RECORD, spec: { ...spec, durability: 'memory' } }],
    ['a wish for blocks of its own without a reason that is known', { ...RECORD, hydration: 'now' }],
    ['allowed nowhere', { ...RECORD, allowed: { nodes: [], zones: [] } }],
    ['allowed on numbers', { ...RECORD, allowed: { nodes: [1], zones: [] } }],
    ['allowed on nodes alone', { ...RECORD, allowed: { nodes: ['n1'] } }],
    ['a failure mode that is none', { ...RECORD, failureMode: 'easy' }],
    ['a threshold that is none', { ...RECORD, failureMode: 6 }],
    ['an unknown locality', { ...RECORD, dataLocality: 'near' }],
    ['labels of numbers', { ...RECORD, labels: { app: 1 } }],
    ['labels that are a list', { ...RECORD, labels: ['app'] }],
    ['a schedule of words', { ...RECORD, snapshotSchedule: 'every 1h' }],
    ['a schedule without rules', { ...RECORD, snapshotSchedule: { everyMs: 60_000 } }],
    ['a schedule without end', { ...RECORD, snapshotSchedule: { everyMs: 0, keep: KEEP } }],
    ['an unknown mode', { ...RECORD, attachMode: 'any' }],
    ['no word on trash', { ...RECORD, trash: undefined }],
    ['trash without a time', { ...RECORD, trash: { keepMs: 0, isPurging: true } }],
    ['a negative minimum', { ...RECORD, minInSync: -1 }],
    ['a first node that is none', { ...RECORD, firstNode: 'n 1' }],
    ['moved from what is no node', { ...RECORD, moved: { from: 'n 1', to: 'n2' } }],
    ['moved to where nobody is', { ...RECORD, moved: { from: 'n1', to: '' } }],
    ['a list', []],
    ['nothing', null],
  ]
  for (const [what, value] of volumes) t.equal(decodeVolume(ID, bytes(value)), undefined, what)
  const noJson = Buffer.from('{')
  for (const decode of [decodeName, decodeNodeWish, decodeDiskWish, decodeMove, decodeRebuilds, decodeAge]) {
    for (const value of [noJson, bytes(null), bytes([]), bytes({}), bytes('x')]) t.equal(decode(value), undefined)
  }
  t.equal(decodeName(bytes({ volumeId: '../x' })), undefined)
  t.equal(decodeNode('n2', bytes({ name: 'n1', nodeId: 'x', zone: '' })), undefined, 'the record of another node')
  t.equal(decodeBeatBody('{"api":"127.0.0.1:2"}'), undefined)
  t.equal(decodeNodeWish(bytes({ isCordoned: 1, isDraining: false })), undefined)
  t.equal(decodeMove(bytes({ ...MOVE, to: '' })), undefined)
  t.equal(decodeMove(bytes({ ...MOVE, what: 'all' })), undefined)
  t.equal(decodeRebuilds(bytes({ rebuilds: [...REBUILDS, { ...REBUILDS[0], why: 'whim' }] })), undefined)
  t.equal(decodeAge(bytes({ ageMs: -1 })), undefined)
})

t.test('what is called like nothing of ours is not believed: its name would become a key', async (t) => {
  for (const name of ['', 'a b', 'A', '\u00fc', '../x', '__proto__', 'x'.repeat(64), 'x'.repeat(600)]) {
    const of = name.length > 20 ? `${name.length} letters` : JSON.stringify(name)
    t.equal(decodeVolume(ID, bytes({ ...RECORD, spec: { ...RECORD.spec, name } })), undefined, `a volume ${of}`)
    t.equal(decodeGroup(name, bytes({ ...GROUP, name })), undefined, `a group ${of}`)
    t.equal(decodeNode(name, bytes({ name, nodeId: 'x', zone: '' })), undefined, `a node ${of}`)
    t.equal(decodeRemoved(name, bytes({ name, removedAtMs: 1 })), undefined, `a removed node ${of}`)
    t.equal(decodeDescribedNode(name, bytes({ ...DESCRIBED, name })), undefined, `a node that waits ${of}`)
    t.equal(decodeMove(bytes({ ...MOVE, to: name })), undefined, `a move to ${of}`)
    t.equal(decodeRebuilds(bytes({ rebuilds: [{ ...REBUILDS[0], to: name }] })), undefined, `a copy for ${of}`)
    if (name === '') continue
    t.equal(decodeMove(bytes({ ...MOVE, from: name })), undefined, `a move from ${of}`)
    t.equal(decodeRebuilds(bytes({ rebuilds: [{ ...REBUILDS[0], from: name }] })), undefined, `a copy of ${of}`)
  }
  t.ok(decodeDescribedNode('n1', bytes(DESCRIBED)))
})

t.test('a copy that no decoder takes has a digest all the same', async (t) => {
  const copy = {
    volumeId: ID, copyId: 'c', isErased: false, failure: '', isConsistent: true, isWhole: true, lostSlices: 0,
    lastEpoch: 1, tail: 5, generation: 1, incarnation: 2, spec: { ...RECORD.spec, name: 'a b' },
    promise: { epoch: 1, primary: 'n1' }, noted: undefined,
  }
  t.not(digestOf([copy]), digestOf([{ ...copy, tail: 6 }]))
  t.equal(digestOf([copy]), digestOf([{ ...copy, isWhole: false }]))
})
