/**
 * Constants of the protocol between data workers. PROTOCOL.md draws the bytes; a test holds both against each other
 * by frames that were recorded when each version was made.
 */
import { assert } from '../../engine/assert.ts'
import type { FrontendMessage, PeerMessage } from '../../engine/replication/messages.ts'
import { TRANSFORM } from '../../engine/transform/transform.ts'

/** The first bytes of a preface; as in PNG, an end of line in it shows a transfer that is not binary. */
export const PREFACE_MAGIC = Uint8Array.of(0x48, 0x46, 0x50, 0x52, 0x0d, 0x0a, 0x1a, 0x0a)
export const PREFACE_BYTES = 224

export const VERSION_LEAST = 1
export const VERSION_GREATEST = 9

export const ROLE = { worker: 1, supervisor: 2 } as const
export type Role = keyof typeof ROLE

export const LANE = { urgent: 1, data: 2 } as const
export type Lane = keyof typeof LANE
export const LANES: readonly Lane[] = ['urgent', 'data']

/** What the preface of the accepting side says. `asked` stands in the preface of the side that dialled. */
/** The protocol over TLS, by its ALPN name. */
export const PEER_PROTOCOL = 'holdfast-peer/1'

export const ANSWER = {
  asked: 0,
  accepted: 1,
  version: 2,
  cluster: 3,
  'not-me': 4,
  self: 5,
  unknown: 6,
  duplicate: 7,
  stopping: 8,
  /** Of a preface in plain text: go on with TLS, and say it anew inside. */
  'start-tls': 9,
  'tls-required': 10,
  'no-tls': 11,
} as const
export type Answer = keyof typeof ANSWER

/** `HFfr`, little-endian. */
export const FRAME_MAGIC = 0x72664648
export const HEADER_BYTES = 56

/** The message goes on in the next frame, which has the same type, volume and epoch. */
export const FLAG_MORE = 1

/** Of the lane itself: not counted by flow control, never delivered. */
export const LANE_FRAME = { alive: 1, credit: 2, bye: 3 } as const
/** Between nodes, on the urgent lane. */
export const LINK_FRAME = { beacon: 8, ended: 9, 'ended-heard': 10 } as const
/** Between copies of a volume, on the data lane. */
export const COPY_FRAME = {
  append: 16,
  stored: 17,
  refused: 18,
  sync: 19,
  'new-epoch': 20,
  promised: 21,
  'fetch-log': 22,
  log: 23,
  reconcile: 24,
  hello: 25,
  release: 26,
  confirm: 27,
  confirmed: 28,
  fence: 29,
  fenced: 30,
  join: 31,
  'fill-start': 32,
  'fill-started': 33,
  fill: 34,
  filled: 35,
  'fill-end': 36,
  'fill-ended': 37,
  'fetch-versions': 38,
  versions: 39,
} as const satisfies Record<PeerMessage['type'], number>
/** Between a frontend and the copies of its volume, on the data lane. */
export const FRONTEND_FRAME = {
  open: 48,
  opened: 49,
  request: 50,
  reply: 51,
  redirect: 52,
  held: 53,
  'snapshot-open': 54,
  'snapshot-opened': 55,
  'snapshot-close': 56,
  'snapshot-ask': 57,
  'snapshot-blocks': 58,
  'snapshot-map': 59,
  'snapshot-refused': 60,
} as const satisfies Record<FrontendMessage['type'], number>

/** Since which version a type is there: it is neither sent nor taken on a connection of an older one. */
export const sinceVersion = (type: number): number => (type >= FRONTEND_FRAME['snapshot-open'] ? 2 : 1)

/**
 * Since which version blobs of a transform may be in a message: one with others is not sent on an older connection.
 * @param transform  bits of FORMAT.md 2.3
 */
export function transformsSince(transform: number): number {
  if (transform === TRANSFORM.none) return 1
  if ((transform & TRANSFORM.lost) !== 0) return MARKS_SINCE
  return (transform & TRANSFORM.cipher) === 0 ? 3 : 5
}

/** Since which version fills carry marks of blocks that could not be had. */
export const MARKS_SINCE = 7

/** Since which version questions for versions are numbered, and an answer says what is damaged there too. */
export const DAMAGED_SINCE = 4

/** Since which version a volume may become smaller: neither that nor a filling of larger snapshots is sent before. */
export const SHRINKS_SINCE = 6

/** Since which version the durability of a volume may change: a node of before is told of none. */
export const DURABILITY_SINCE = 8

/** Since which version a session is refused because there are too many: it is stale to a node of before. */
export const CROWDED_SINCE = 9

/** Frames that may carry blocks behind their control part. */
export const WITH_PAYLOAD: ReadonlySet<number> = new Set([
  COPY_FRAME.append,
  COPY_FRAME.log,
  COPY_FRAME.reconcile,
  COPY_FRAME.fill,
  COPY_FRAME.versions,
  FRONTEND_FRAME.request,
  FRONTEND_FRAME.reply,
  FRONTEND_FRAME['snapshot-blocks'],
])
/** Frames whose message may be cut into several. */
export const WITH_MORE: ReadonlySet<number> = new Set([COPY_FRAME.append, COPY_FRAME.log, COPY_FRAME.reconcile])

export const CONTROL_BYTES_MAX = 4 << 20
export const PAYLOAD_BYTES_MAX = 8 << 20
/** Of a message in several frames, all together. */
export const JOINED_BYTES_MAX = 64 << 20
export const FRAME_BYTES_MAX = HEADER_BYTES + CONTROL_BYTES_MAX + PAYLOAD_BYTES_MAX
/** Frames sent and not reported as consumed; each side names its own in the preface. */
export const WINDOW_BYTES = 32 << 20

assert(2 * FRAME_BYTES_MAX <= WINDOW_BYTES, 'the largest frame passes while less than half the window is unreported')
