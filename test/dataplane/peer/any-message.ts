/** Arbitrary messages of every type, at the extremes of their fields too, for round trips through the wire. */
import fc from 'fast-check'
import { payloadOf } from '../../../engine/volume/copy-headers.ts'
import type { FrontendOperation } from '../../../engine/replication/messages.ts'
import type { BlockVersion, Payload, ReplicatedRecord, RequestId } from '../../../engine/replication/record.ts'
import { U48_MAX } from '../../../engine/units.ts'
import { crc32c } from '../../../dataplane/checksum.ts'
import type { WireMessage } from '../../../dataplane/peer/message-codec.ts'

const between = (max: number): fc.Arbitrary<number> =>
  fc.oneof(fc.constantFrom(0, 1, max - 1, max, Math.min(max, 2 ** 32)), fc.integer({ min: 0, max }))
const epoch = between(2 ** 32 - 1)
const seq = between(U48_MAX)
const count = between(Number.MAX_SAFE_INTEGER)
const node = fc.constantFrom('n1', 'n2', 'rack-7.host-3', 'a'.repeat(63))
const uuid = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'))
const session = fc.record({ generation: count, incarnation: count })
const fence = fc.record(
  {
    brokenGeneration: count,
    incarnations: fc.array(fc.tuple(count, count), { maxLength: 3 }),
    open: fc.array(fc.tuple(node, count, count), { maxLength: 3 }),
  },
  { requiredKeys: ['brokenGeneration', 'incarnations'] },
)

const requestId: fc.Arbitrary<RequestId> = fc
  .record(
    {
      generation: count, incarnation: count, request: count, part: fc.nat(9), answeredBelow: count,
      parts: fc.integer({ min: 10, max: 65536 }),
    },
    { requiredKeys: ['generation', 'incarnation', 'request', 'part', 'parts'] },
  )
  .map((id) => id as RequestId)

/** Blocks of noise that are cheap to make. */
export function blocks(blockCount: number, seed: number): Payload {
  const bytes = new Uint8Array(blockCount * 4096)
  for (let at = 0; at < bytes.length; at += 61) bytes[at] = (seed + at) & 255
  return payloadOf(crc32c, bytes)
}

/** Blobs of so many units each. */
export function blobs(units: readonly number[], seed: number, transform = 1): Payload {
  const bytes = new Uint8Array(units.reduce((sum, one) => sum + one, 0) * 64)
  for (let at = 0; at < bytes.length; at += 61) bytes[at] = (seed + at) & 255
  let at = 0
  const crcs = Uint32Array.from(units, (one) => crc32c(bytes.subarray(at, (at += one * 64))))
  return { bytes: bytes.length, data: { bytes, crcs, stored: { transform, units: Uint8Array.from(units) } } }
}

/** With the number of its blocks. */
const payload = (blockCountMax: number): fc.Arbitrary<[Payload, number]> =>
  fc.oneof(
    fc.tuple(fc.integer({ min: 1, max: blockCountMax }), fc.nat(255)).map(
      ([length, seed]): [Payload, number] => [blocks(length, seed), length]),
    fc.tuple(
      fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1, maxLength: blockCountMax }), fc.nat(255),
      fc.constantFrom(1, 2, 3),
    ).map(([units, seed, transform]): [Payload, number] =>
      [blobs(units.map((one) => one + (transform >> 1)), seed, transform), units.length]),
  )

const lba = between(U48_MAX - 300_000)
/** Of a write of so many blocks, which lies within one page. */
const onePage = (lba: number, blockCount: number): number => lba - Math.max(0, (lba % 256) + blockCount - 256)
const text = fc.string({ maxLength: 60 })
const labels = fc.dictionary(text.filter((key) => key !== '__proto__'), text, { maxKeys: 8 })
const title = fc.record({ name: text, createdAtMs: count, labels })
const newSnapshot = fc.record({ id: text, title })
const durability = fc.constantFrom('durable' as const, 'writeback' as const)
const change = fc.oneof(
  fc.record({
    operation: fc.constant('epoch' as const),
    epochs: fc.constant<Array<[number, number]>>([[1, 1], [7, 90], [2 ** 32 - 1, U48_MAX]]),
  }),
  fc.record({ operation: fc.constantFrom('resize' as const, 'shrink' as const), sizeBytes: count }),
  fc.record({ operation: fc.constant('durability' as const), to: durability }),
  fc.record({ operation: fc.constant('snapshot' as const), id: text }),
  newSnapshot.map((snapshot) => ({ operation: 'snapshot' as const, ...snapshot })),
  fc.record({ operation: fc.constant('snapshot-delete' as const), id: text }),
  fc.record({ operation: fc.constant('rollback' as const), to: text }),
  fc.record({ operation: fc.constant('rollback' as const), to: text, kept: newSnapshot }),
  fc.record({ operation: fc.constant('delete' as const) }),
)

const record: fc.Arbitrary<ReplicatedRecord> = fc
  .tuple(
    fc.record({ epoch, seq, request: fc.option(requestId, { nil: undefined }) }),
    fc.oneof(
      fc.tuple(lba, payload(3)).map(([lba, [payload, blockCount]]) => ({
        kind: 'write', lba: onePage(lba, blockCount), blockCount, payload,
      })),
      fc.record({ kind: fc.constantFrom('zero', 'trim'), lba, blockCount: fc.constantFrom(1, 256, 262_144) }),
      fc.record({ kind: fc.constant('control'), change }),
    ),
  )
  .map(([id, rest]) => ({ ...id, ...rest }) as ReplicatedRecord)

const version: fc.Arbitrary<BlockVersion> = fc
  .tuple(epoch, seq, lba, fc.constantFrom('write' as const, 'zero' as const, 'trim' as const), payload(1))
  .map(([epoch, seq, lba, kind, [one]]) => ({ epoch, seq, lba, kind, payload: kind === 'write' ? one : undefined }))

const versions = fc.array(version, { maxLength: 4 })
const records = fc.array(record, { maxLength: 4 })
const id = fc.record({ epoch, seq })
const versionId = fc.record({ epoch, seq, lba })
const slices = fc.array(fc.tuple(fc.nat(65535), seq), { maxLength: 4 }) as fc.Arbitrary<Array<[number, number]>>

const report = {
  copyId: uuid,
  promised: fc.record({ epoch, primary: fc.oneof(node, fc.constant('')) }),
  epochs: fc.constantFrom<Array<[number, number]>>([], [[1, 1]], [[1, 1], [2, 40], [2 ** 20, 41]]),
  tail: seq,
  durableSeq: seq,
  commitSeq: seq,
  consistency: fc.oneof(
    fc.record({ state: fc.constant('consistent' as const) }),
    fc.record({ state: fc.constant('filling' as const), target: seq, slices }),
  ),
  attach: fence,
  isWhole: fc.boolean(),
  forgottenSeq: seq,
  lostSlices: fc.array(fc.nat(65535), { maxLength: 3 }),
}
const reportKeys = Object.keys(report)

const config = fc.record({
  volumeId: uuid,
  epoch,
  primary: node,
  inSync: fc.array(node, { maxLength: 3 }),
  members: fc.dictionary(node, fc.record({ copyId: uuid, state: fc.constantFrom('in-sync', 'needs-full') })),
  minInSync: fc.integer({ min: 1, max: 6 }),
  attach: fc.record({
    generation: count, mode: fc.constantFrom('single', 'open'), holders: fc.dictionary(node, count),
  }),
  nonce: fc.string({ maxLength: 40 }),
})

type Fields = Record<string, fc.Arbitrary<unknown>>

const partial = (type: string, required: Fields, optional: Fields) =>
  fc.record<Record<string, unknown>>(
    { type: fc.constant(type), ...required, ...optional },
    { requiredKeys: ['type', ...Object.keys(required)] },
  )

const operation: fc.Arbitrary<FrontendOperation> = fc.oneof(
  fc
    .tuple(lba, payload(3), fc.boolean(), fc.array(fc.tuple(lba, seq), { maxLength: 2 }))
    .map(([lba, [payload, blockCount], fua, edges]) => ({
      type: 'write' as const, lba: onePage(lba, blockCount), blockCount, payload, fua, edges,
    })),
  fc.record({
    type: fc.constantFrom('zero' as const, 'trim' as const), lba, blockCount: fc.constantFrom(1, 262_144),
    fua: fc.boolean(),
  }),
  fc.record({ type: fc.constant('read' as const), lba, blockCount: fc.integer({ min: 1, max: 2016 }) }),
  fc.record({ type: fc.constant('flush' as const) }),
)

const failure = fc.constantFrom(
  'stale-session', 'edge-changed', 'range', 'no-space', 'read-only', 'session-broken', 'damaged',
  'too-many-sessions',
)
const result = fc.oneof(
  versions.map((versions) => ({ ok: true, versions })),
  failure.map((code) => ({ ok: false, code })),
)

type Any = Record<WireMessage['type'], fc.Arbitrary<unknown>>

const place = fc.record({ id: uuid, epoch, seq })
const openedSnapshot = fc.record({ id: uuid, epoch, seq, name: fc.string({ maxLength: 63 }), sizeBytes: count })

/** Every type there is: a new one does not compile until it is here. */
const ANY = {
  beacon: fc.record({
    type: fc.constant('beacon'), number: count,
    got: fc.option(fc.record({ instance: uuid, number: count }), { nil: undefined }),
    left: fc.array(uuid, { maxLength: 3 }), commits: fc.array(fc.tuple(uuid, epoch, seq), { maxLength: 3 }),
  }),
  ended: fc.record({ type: fc.constant('ended'), instance: uuid }),
  'ended-heard': fc.record({ type: fc.constant('ended-heard'), instance: uuid }),
  append: fc.record({ type: fc.constant('append'), epoch, previous: id, records, commitSeq: seq }),
  stored: partial('stored', { epoch, seq, durableSeq: seq }, { fill: count }),
  refused: partial('refused', {
    epoch, promised: report.promised, tail: id, why: fc.constantFrom('epoch', 'gap', 'not-member', 'fenced'),
  }, {}),
  sync: partial('sync', { epoch, seq }, {}),
  'new-epoch': partial('new-epoch', { epoch, config }, { since: epoch, token: count }),
  promised: fc.record(
    { type: fc.constant('promised'), epoch, ...report, joinNumber: count, answerTo: count },
    { requiredKeys: ['type', 'epoch', ...reportKeys] as never[] },
  ),
  'fetch-log': partial('fetch-log', { epoch, aboveSeq: seq }, {}),
  log: partial('log', { epoch, records }, {}),
  reconcile: partial('reconcile', { epoch, fork: id, records, commitSeq: seq }, {}),
  hello: fc.record({ type: fc.constant('hello'), epoch, ...report }),
  release: partial('release', { epoch }, { token: count }),
  confirm: partial('confirm', { epoch, token: count }, {}),
  confirmed: partial('confirmed', { epoch, token: count }, {}),
  fence: partial('fence', { epoch, fence }, {}),
  fenced: partial('fenced', { epoch, fence }, {}),
  join: fc.record({ type: fc.constant('join'), ...report, joinNumber: count }),
  'fill-start': partial('fill-start', {
    epoch, fill: count, fork: seq, target: seq, slices, wipe: report.lostSlices, epochs: report.epochs,
    sizeBytes: count,
    descriptor: fc.jsonValue({ maxDepth: 4 }), forInstance: uuid, joinOf: count, attach: fence, forgottenSeq: seq,
    isWhole: fc.boolean(), windows: fc.constantFrom([], [[1, 2, 3, 4, [[4, 2, 0], [9, 1]]]]),
  }, { sliceCount: fc.nat(), durability }),
  'fill-started': partial('fill-started', { epoch, fill: count }, {}),
  fill: partial('fill', { epoch, fill: count, number: count, versions, slicesDone: report.lostSlices }, {
    appliedSeq: seq,
  }),
  filled: partial('filled', { epoch, fill: count, number: count }, {}),
  'fill-end': partial('fill-end', { epoch, fill: count }, {}),
  'fill-ended': partial('fill-ended', { epoch, fill: count, tail: seq }, {}),
  'fetch-versions': partial('fetch-versions', { epoch, wanted: fc.array(versionId, { maxLength: 4 }) }, {
    asked: count,
  }),
  versions: fc.oneof(
    partial('versions', { epoch, versions, missing: fc.array(versionId, { maxLength: 4 }) }, {}),
    partial('versions', { epoch, versions, missing: fc.array(versionId, { maxLength: 4 }), asked: count }, {
      damaged: fc.array(versionId, { minLength: 1, maxLength: 4 }),
    }),
  ),
  open: partial('open', { session, mode: fc.constantFrom('read', 'write') }, {}),
  opened: partial('opened', { session, epoch, sizeBytes: count }, {}),
  request: partial('request', { id: requestId, epoch, operation, answeredBelow: count }, {}),
  reply: partial('reply', { id: requestId, epoch, result }, {}),
  held: partial('held', { session, epoch }, {}),
  'snapshot-open': partial('snapshot-open', { reader: count, wanted: fc.string({ maxLength: 64 }) }, {}),
  'snapshot-opened': partial('snapshot-opened', { reader: count, epoch }, { snapshot: openedSnapshot }),
  'snapshot-close': partial('snapshot-close', { reader: count }, {}),
  'snapshot-ask': partial('snapshot-ask', {
    reader: count, number: count, snapshot: place,
    operation: fc.oneof(
      fc.record({ type: fc.constant('read'), lba: seq, blockCount: fc.integer({ min: 1, max: 2016 }) }),
      fc.record(
        { type: fc.constant('map'), lba: seq, blockCount: fc.integer({ min: 1, max: 2 ** 34 }), since: place },
        { requiredKeys: ['type', 'lba', 'blockCount'] },
      ),
    ),
  }, {}),
  'snapshot-blocks': partial('snapshot-blocks', { reader: count, number: count, epoch, versions }, {}),
  'snapshot-map': partial('snapshot-map', {
    reader: count, number: count, epoch, runs: fc.array(seq, { maxLength: 9 }), endLba: seq,
  }, {}),
  'snapshot-refused': partial('snapshot-refused', {
    reader: count, number: count, epoch, code: fc.constantFrom('gone', 'range', 'damaged'),
  }, {}),
  redirect: fc.record({
    type: fc.constant('redirect'), id: fc.option(requestId, { nil: undefined }), epoch,
    primary: fc.option(node, { nil: undefined }),
  }),
} satisfies Any

export const MESSAGE_TYPES = Object.keys(ANY) as Array<WireMessage['type']>
export const anyOf = (type: WireMessage['type']): fc.Arbitrary<WireMessage> => ANY[type] as fc.Arbitrary<WireMessage>

