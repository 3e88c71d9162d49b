/**
 * Values of the cluster store as somebody may have put them there: a person, a restored backup, another Holdfast.
 * Promises: a decoder answers the value or undefined, and what it answers can be written and read again.
 */
import { crc32 } from 'node:zlib'
import { assert } from '../../../engine/assert.ts'
import { decodeBeatBody } from '../../../cluster/membership/beat-body.ts'
import { decodeAge } from '../../../cluster/store/cluster-age.ts'
import { decodeCluster } from '../../../cluster/store/cluster-record.ts'
import { decodeDiskWish } from '../../../cluster/store/disk-wishes.ts'
import { decodeRecord, encodeRecord, recordKey } from '../../../cluster/store/embedded/store-record.ts'
import { decodeHeartbeat } from '../../../cluster/store/heartbeats.ts'
import { decodeAsk, decodeDescribedCopy, decodeDescribedNode } from '../../../cluster/store/node-descriptions.ts'
import { decodeNode } from '../../../cluster/store/node-records.ts'
import { decodeNodeWish } from '../../../cluster/store/node-wishes.ts'
import { decodeRebuilds } from '../../../cluster/store/rebuild-records.ts'
import { decodeGroup } from '../../../cluster/store/snapshot-groups.ts'
import { decodeStarts } from '../../../cluster/store/start-counter.ts'
import { decodeConfig, encodeConfig } from '../../../cluster/store/volume-configs.ts'
import { decodeMove } from '../../../cluster/store/volume-moves.ts'
import { decodeName } from '../../../cluster/store/volume-names.ts'
import { decodeVolume, encodeVolume } from '../../../cluster/store/volume-records.ts'
import { chosen, oneOf } from '../target.ts'
import type { Target } from '../target.ts'

const VOLUME = '22'.repeat(16)

function same<T>(id: string, bytes: Uint8Array, decode: (id: string, bytes: Uint8Array) => T | undefined,
  encode: (value: T) => Uint8Array): void {
  const value = decode(id, bytes)
  if (value === undefined) return
  const again = decode(id, encode(value))
  assert(JSON.stringify(again) === JSON.stringify(value), 'what is read can be written and read')
}

function sealedRecord(bytes: Buffer): void {
  if (bytes.length < 13) return
  const key = bytes.subarray(0, 9)
  const body = Buffer.from(bytes.subarray(9))
  body.writeUInt32LE(crc32(body.subarray(4), crc32(key)))
  decodeRecord(key, body)
}

const DECODERS = [
  (bytes: Buffer) => same(VOLUME, bytes, decodeVolume, encodeVolume),
  (bytes: Buffer) => same(VOLUME, bytes, decodeConfig, encodeConfig),
  decodeHeartbeat,
  (bytes: Buffer) => decodeBeatBody(bytes.toString()),
  decodeCluster,
  (bytes: Buffer) => decodeNode('n1', bytes),
  decodeNodeWish,
  decodeDiskWish,
  decodeRebuilds,
  (bytes: Buffer) => decodeGroup('g', bytes),
  decodeStarts,
  decodeMove,
  decodeName,
  decodeAge,
  decodeAsk,
  (bytes: Buffer) => decodeDescribedNode('n1', bytes),
  decodeDescribedCopy,
  sealedRecord,
] as const

const KEY = { volumeId: VOLUME, dataKey: { wrappedBy: '0123456789abcdef', wrapped: `${'A'.repeat(123)}=` } }
const SPEC = {
  id: VOLUME, name: 'v', sizeBytes: 2 ** 30, blockSizeBytes: 4096, replicas: 2, durability: 'durable', onFull: 'hold',
  ioTimeoutMs: 0, pool: 'default', diskTags: ['ssd'], compression: 'lz4',
  encryption: { cipher: 'aes-256-xts', keys: [KEY] },
  qos: { iops: 5, bandwidthBytes: 0, burstMs: 1 },
}
const CONFIG = {
  volumeId: VOLUME, epoch: 3, primary: 'n1', inSync: ['n1', 'n2'], minInSync: 1, nonce: 'x',
  members: { n1: { copyId: 'a', state: 'in-sync' }, n2: { copyId: 'b', state: 'in-sync' } },
  attach: { generation: 2, mode: 'single', holders: { n1: 2 } },
}
const RECORD = {
  spec: SPEC, minInSync: 0, allowDegraded: false, firstNode: '', attachMode: 'open',
  trash: { deletedAtAgeMs: 1, keepMs: 2, isPurging: false },
  origin: { volumeId: VOLUME, snapshotId: 's', seq: 1, epoch: 1 },
  snapshotSchedule: { everyMs: 60_000, keep: { last: 1, hourly: 0, daily: 0, weekly: 0 } },
}
const COPY = {
  volumeId: VOLUME, copyId: 'c', isErased: false, failure: '', isConsistent: true, isWhole: true, lostSlices: 0,
  lastEpoch: 1, tail: 5, generation: 1, incarnation: 2, spec: SPEC, promise: { epoch: 1, primary: 'n1' },
  noted: { config: CONFIG, record: RECORD },
}
const NODE = {
  name: 'n1', nodeId: VOLUME, clusterId: VOLUME, zone: 'a', startNumber: 1, era: 0, met: ['n2'], digest: 'd',
  disks: [{ path: '/x', failure: '' }], copyCount: 1, ask: 'q',
}

const GROUP = {
  name: 'g', id: VOLUME, snapshotId: VOLUME, state: 'made', labels: { a: 'b' }, createdAtMs: 1,
  members: [{ volumeId: VOLUME, seq: 1, sizeBytes: 2, expected: { epoch: 1, seq: 1 } }],
}

export const target: Target = {
  parsers: [
    'engine/value-shape.ts', 'cluster/store/json-value.ts', 'cluster/store/volume-records.ts',
    'cluster/store/volume-configs.ts',
    'cluster/store/heartbeats.ts', 'cluster/membership/beat-body.ts', 'cluster/store/cluster-record.ts',
    'cluster/store/node-records.ts', 'cluster/store/node-wishes.ts', 'cluster/store/disk-wishes.ts',
    'cluster/store/rebuild-records.ts', 'cluster/store/snapshot-groups.ts', 'cluster/store/node-descriptions.ts',
    'cluster/store/volume-moves.ts', 'cluster/store/embedded/store-record.ts',
  ],
  seeds: () => [
    ...[
      RECORD, CONFIG, { instance: 'i', beat: 3, body: '{}' },
      { peer: 'h:1', api: 'h:2', nodeId: VOLUME, clusterId: VOLUME, instance: 'i', version: '1', workers: 2 },
      { id: VOLUME, era: 1, rebuilt: { n1: 'x' } }, { name: 'n1', nodeId: VOLUME, zone: 'z' },
      { isCordoned: true, isDraining: false }, { isEvicted: true },
      { rebuilds: [{ volumeId: VOLUME, to: 'n1', from: '', why: 'add' }] }, GROUP, { count: 4 },
      { what: 'copy', to: 'n1', from: 'n2' }, { volumeId: VOLUME }, { ageMs: 5 }, { ask: 'q' }, NODE, COPY,
    ].map((value, index) => chosen(index, JSON.stringify(value))),
    chosen(17, Buffer.concat([recordKey(5), encodeRecord({
      revision: 5, kind: 'put', key: 'volumes/1', createRevision: 4, version: 1, value: Buffer.from('{}'),
    })])),
  ],
  words: ['null', '{}', '[]', '-1', '1.5', '1e999', '9007199254740993', '"x"', '"__proto__":{}', 'true', ',', ':'],
  execute: (input) => oneOf(input, DECODERS),
}
