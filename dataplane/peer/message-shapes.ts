/**
 * The shape of every message whose control part is msgpack, `type` and `epoch` taken out (they stand in the header).
 * What is checked here is form and range; whether a message may change anything is for the core to judge.
 */
import {
  COPY_ID_CHARS_MAX, HOLDERS_MAX, MEMBERS_MAX, NONCE_CHARS_MAX,
} from '../../engine/replication/configuration.ts'
import type { Attach, Member, VolumeConfig } from '../../engine/replication/configuration.ts'
import type { CopyReport, OpenedSnapshot, SnapshotPlace } from '../../engine/replication/messages.ts'
import type {
  NewSnapshot, RequestId, Session, SnapshotTitle, VersionId,
} from '../../engine/replication/record.ts'
import type { SessionFence } from '../../engine/replication/session-fence.ts'
import { WINDOWS_MAX } from '../../engine/replication/session-window.ts'
import { BLOB_UNITS_MAX, BLOCK_BYTES, SLICE_BYTES, UNIT_BYTES, VOLUME_BYTES_MAX } from '../../engine/units.ts'
import { either, isFlag, tupleOf } from '../../engine/value-shape.ts'
import type { Shape } from '../../engine/value-shape.ts'
import type { HandLaid, WireMessage } from './message-codec.ts'
import { PAYLOAD_BYTES_MAX } from './protocol.ts'
import {
  anyPlain, ascendingPairs, count, epoch, integer, list, node, nodeOrNone, object, objectOf, oneOf, record, seq, text,
  u32, uuid,
} from './shape.ts'

const SLICES_MAX = VOLUME_BYTES_MAX / SLICE_BYTES
/** The history of epochs keeps the last 64; a descriptor of a long unattended one may have more. */
const EPOCHS_MAX = 4096
const VOLUMES_MAX = 65536
const VERSIONS_MAX = 65536
const LABELS_MAX = 64
const SNAPSHOT_READ_BLOCKS_MAX = Math.floor(PAYLOAD_BYTES_MAX / (BLOB_UNITS_MAX * UNIT_BYTES))
/** Three for each run, of an answer that may be some runs longer than it should. */
const RUN_NUMBERS_MAX = 3 * 65536

const session = objectOf<Session>({ generation: count, incarnation: count }, {})
const fence = objectOf<SessionFence>(
  { brokenGeneration: count, incarnations: list(tupleOf(count, count), WINDOWS_MAX) },
  { open: list(tupleOf(node, count, count), HOLDERS_MAX) },
)
const epochs = ascendingPairs(epoch, seq, EPOCHS_MAX)
const promised = objectOf<CopyReport['promised']>({ epoch, primary: nodeOrNone }, {})
/** [slice, base] */
const slices = list(tupleOf(u32, seq), SLICES_MAX)
const sliceNumbers = list(u32, SLICES_MAX)
const text64 = text(64)

const config = objectOf<VolumeConfig>(
  {
    volumeId: text64,
    epoch,
    primary: node,
    inSync: list(node, MEMBERS_MAX),
    members: record(
      node,
      objectOf<Member>(
        { copyId: text(COPY_ID_CHARS_MAX), state: oneOf('in-sync', 'catching-up', 'failed', 'needs-full') },
        {},
      ),
      MEMBERS_MAX,
    ),
    minInSync: u32,
    attach: objectOf<Attach>(
      {
        generation: count,
        mode: oneOf('single', 'shared', 'read-only', 'open'),
        holders: record(node, count, HOLDERS_MAX),
      },
      {},
    ),
    nonce: text(NONCE_CHARS_MAX),
  },
  {},
)

const report = {
  copyId: text(COPY_ID_CHARS_MAX),
  promised,
  epochs,
  tail: seq,
  durableSeq: seq,
  commitSeq: seq,
  consistency: either(
    object({ state: oneOf('consistent') }),
    object({ state: oneOf('filling'), target: seq, slices }),
  ),
  attach: fence,
  isWhole: isFlag,
  forgottenSeq: seq,
  lostSlices: sliceNumbers,
}
const joinNumber = count

/** As `encodeWindows` writes them: [generation, incarnation, floor, highest, [[number, parts, ...part], ...]]. */
const windows = list(tupleOf(count, count, count, count, list(list(count, 65537), 65536)), WINDOWS_MAX)

const title = objectOf<SnapshotTitle>(
  { name: text64, createdAtMs: count, labels: record(text64, text64, LABELS_MAX) },
  { group: text64 },
)

const durability = oneOf('durable', 'writeback')

export const changeShape = either(
  object({ operation: oneOf('epoch'), epochs }),
  object({ operation: oneOf('resize', 'shrink'), sizeBytes: count }),
  object({ operation: oneOf('durability'), to: durability }),
  object({ operation: oneOf('snapshot'), id: text64 }, { title }),
  object({ operation: oneOf('snapshot-delete'), id: text64 }),
  object({ operation: oneOf('rollback'), to: text64 }, { kept: objectOf<NewSnapshot>({ id: text64 }, { title }) }),
  object({ operation: oneOf('delete') }),
)

const requestId = objectOf<RequestId>(
  { generation: count, incarnation: count, request: count, part: u32, parts: u32 },
  { answeredBelow: count },
)
const versionId = objectOf<VersionId>({ epoch, seq, lba: seq }, {})

const place = objectOf<SnapshotPlace>({ id: text64, epoch, seq }, {})
const openedSnapshot = objectOf<OpenedSnapshot>({ id: text64, epoch, seq, name: text64, sizeBytes: count }, {})
const blockRange = { lba: seq, blockCount: integer(1, VOLUME_BYTES_MAX / BLOCK_BYTES) }
const snapshotOperation = either(
  object({ type: oneOf('read'), lba: seq, blockCount: integer(1, SNAPSHOT_READ_BLOCKS_MAX) }),
  object({ type: oneOf('map'), ...blockRange }, { since: place }),
)

/** Of a message, what its control part has. */
type Rest<T extends WireMessage['type']> = Omit<Extract<WireMessage, { type: T }>, 'type' | 'epoch'>
const of = <T extends WireMessage['type']>(...args: Parameters<typeof objectOf<Rest<T>>>): Shape => objectOf(...args)

export const MESSAGE_SHAPES: { readonly [T in Exclude<WireMessage['type'], HandLaid>]: Shape } = {
  beacon: of<'beacon'>(
    { number: count, left: list(uuid, VOLUMES_MAX), commits: list(tupleOf(uuid, epoch, seq), VOLUMES_MAX) },
    { got: object({ instance: uuid, number: count }) },
  ),
  ended: of<'ended'>({ instance: uuid }, {}),
  'ended-heard': of<'ended-heard'>({ instance: uuid }, {}),
  refused: of<'refused'>(
    {
      promised,
      tail: object({ epoch, seq }),
      why: oneOf('epoch', 'gap', 'not-consistent', 'fenced', 'not-primary', 'not-member'),
    },
    {},
  ),
  sync: of<'sync'>({ seq }, {}),
  'new-epoch': of<'new-epoch'>({ config }, { since: epoch, token: count }),
  promised: of<'promised'>(report, { joinNumber, answerTo: count }),
  'fetch-log': of<'fetch-log'>({ aboveSeq: seq }, {}),
  hello: of<'hello'>(report, { joinNumber }),
  release: of<'release'>({}, { token: count }),
  confirm: of<'confirm'>({ token: count }, {}),
  confirmed: of<'confirmed'>({ token: count }, {}),
  fence: of<'fence'>({ fence }, {}),
  fenced: of<'fenced'>({ fence }, {}),
  join: of<'join'>(report, { joinNumber }),
  'fill-start': of<'fill-start'>(
    {
      fill: count,
      fork: seq,
      target: seq,
      slices,
      wipe: sliceNumbers,
      descriptor: anyPlain,
      epochs,
      windows,
      sizeBytes: count,
      forInstance: uuid,
      joinOf: count,
      attach: fence,
      forgottenSeq: seq,
      isWhole: isFlag,
    },
    { sliceCount: u32, durability },
  ),
  'fill-started': of<'fill-started'>({ fill: count }, {}),
  filled: of<'filled'>({ fill: count, number: count }, {}),
  'fill-end': of<'fill-end'>({ fill: count }, {}),
  'fill-ended': of<'fill-ended'>({ fill: count, tail: seq }, {}),
  'fetch-versions': of<'fetch-versions'>({ wanted: list(versionId, VERSIONS_MAX) }, { asked: count }),
  open: of<'open'>({ session, mode: oneOf('read', 'write') }, {}),
  opened: of<'opened'>({ session, sizeBytes: count }, {}),
  held: of<'held'>({ session }, {}),
  'snapshot-open': of<'snapshot-open'>({ reader: count, wanted: text64 }, {}),
  'snapshot-opened': of<'snapshot-opened'>({ reader: count }, { snapshot: openedSnapshot }),
  'snapshot-close': of<'snapshot-close'>({ reader: count }, {}),
  'snapshot-ask': of<'snapshot-ask'>(
    { reader: count, number: count, snapshot: place, operation: snapshotOperation },
    {},
  ),
  'snapshot-map': of<'snapshot-map'>(
    { reader: count, number: count, runs: list(count, RUN_NUMBERS_MAX), endLba: seq },
    {},
  ),
  'snapshot-refused': of<'snapshot-refused'>(
    { reader: count, number: count, code: oneOf('gone', 'range', 'damaged') },
    {},
  ),
  redirect: of<'redirect'>({}, { id: requestId, primary: node }),
}
