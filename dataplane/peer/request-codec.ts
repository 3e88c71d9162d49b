/** `request` of a frontend and the primary's `reply`, laid by hand (PROTOCOL.md sections 5.4, 5.5). */
import { assert } from '../../engine/assert.ts'
import type { FrontendMessage, FrontendOperation, FrontendResult } from '../../engine/replication/messages.ts'
import { BLOB_UNITS_MAX, SLICE_BLOCKS, U48_MAX, UNIT_BYTES } from '../../engine/units.ts'
import { isOnePage, putBlocks, takeBlocks, transformOf } from './block-payload.ts'
import type { FrameBody } from './block-payload.ts'
import { getU48Padded, getU53, putU32, putU48Padded, putU53 } from './byte-fields.ts'
import type { ControlWriter } from './control-writer.ts'
import { PAYLOAD_BYTES_MAX } from './protocol.ts'
import { getRequestId, putRequestId, REQUEST_ID_BYTES } from './request-id-fields.ts'
import { decodeVersions, encodeVersions } from './versions-codec.ts'

type Request = Extract<FrontendMessage, { type: 'request' }>
type Reply = Extract<FrontendMessage, { type: 'reply' }>

const REQUEST_BYTES = REQUEST_ID_BYTES + 28
const OPERATION = { write: 1, zero: 2, trim: 3, read: 4, flush: 5 } as const
const OPERATION_NAMES = [undefined, 'write', 'zero', 'trim', 'read', 'flush'] as const
const FUA = 1
const HAS_ANSWERED_BELOW = 2
const EDGE_BYTES = 16
/** A write has a first and a last block. */
const EDGES_MAX = 2
/** Of which the blobs fit a frame, also those that a read is answered with. */
const BLOCKS_MAX = Math.floor(PAYLOAD_BYTES_MAX / (BLOB_UNITS_MAX * UNIT_BYTES))

export function encodeRequest(out: ControlWriter, { id, operation, answeredBelow }: Request): void {
  const range = operation.type === 'flush' ? { lba: 0, blockCount: 0 } : operation
  const edges = operation.type === 'write' ? operation.edges : []
  assert(edges.length <= EDGES_MAX, 'a write has two edges at most')
  const at = out.room(REQUEST_BYTES + edges.length * EDGE_BYTES)
  const { view } = out
  const isFua = 'fua' in operation && operation.fua
  putRequestId(view, at, id)
  putU53(view, at + 40, answeredBelow)
  view.setUint8(at + 48, OPERATION[operation.type])
  view.setUint8(at + 49, (isFua ? FUA : 0) + (id.answeredBelow === undefined ? 0 : HAS_ANSWERED_BELOW))
  view.setUint16(at + 50, edges.length, true)
  putU48Padded(view, at + 52, range.lba)
  putU32(view, at + 60, range.blockCount)
  view.setUint32(at + 64, operation.type === 'write' ? transformOf(operation.payload) : 0, true)
  edges.forEach(([lba, seq], i) => {
    putU48Padded(view, at + REQUEST_BYTES + i * EDGE_BYTES, lba)
    putU48Padded(view, at + REQUEST_BYTES + i * EDGE_BYTES + 8, seq)
  })
  if (operation.type === 'write') putBlocks(out, operation.payload, operation.blockCount)
}

export function decodeRequest(epoch: number, body: FrameBody): Request | string {
  const { bytes, view, at } = body
  if (body.end - at < REQUEST_BYTES) return 'a request is cut off'
  const flags = bytes[at + 49]!
  const id = getRequestId(view, at, flags >= HAS_ANSWERED_BELOW)
  const answeredBelow = getU53(view, at + 40)
  const type = OPERATION_NAMES[bytes[at + 48]!]
  const edgeCount = view.getUint16(at + 50, true)
  const lba = getU48Padded(view, at + 52)
  const blockCount = view.getUint32(at + 60, true)
  body.at += REQUEST_BYTES
  if (id === undefined || answeredBelow < 0 || type === undefined || lba < 0 || flags > FUA + HAS_ANSWERED_BELOW)
    return 'a request has impossible values'
  const transform = view.getUint32(at + 64, true)
  if ((transform !== 0 && type !== 'write') || edgeCount > (type === 'write' ? EDGES_MAX : 0))
    return 'a request has impossible values'
  if (body.end - body.at < edgeCount * EDGE_BYTES) return 'a request is cut off'
  const edges: Array<[number, number]> = []
  for (let i = 0; i < edgeCount; i++, body.at += EDGE_BYTES) {
    const edge: [number, number] = [getU48Padded(view, body.at), getU48Padded(view, body.at + 8)]
    if (edge[0] < 0 || edge[1] < 0) return 'a request has impossible values'
    edges.push(edge)
  }
  const operation = decodeOperation(body, { type, lba, blockCount, fua: (flags & FUA) !== 0, edges, transform })
  if (typeof operation === 'string') return operation
  if (body.at !== body.end || body.payloadAt !== body.payloadEnd) return 'something lies behind the request'
  return { type: 'request', id, epoch, operation, answeredBelow }
}

function decodeOperation(
  body: FrameBody,
  of: {
    type: FrontendOperation['type']
    lba: number
    blockCount: number
    fua: boolean
    edges: Array<[number, number]>
    transform: number
  },
): FrontendOperation | string {
  const { type, lba, blockCount, fua, edges, transform } = of
  if (type === 'flush') return lba === 0 && blockCount === 0 && !fua ? { type } : 'a flush has no range'
  if (blockCount === 0 || lba + blockCount - 1 > U48_MAX) return 'a request covers no blocks'
  if (type === 'zero' || type === 'trim')
    return blockCount <= SLICE_BLOCKS ? { type, lba, blockCount, fua } : 'a request covers too many blocks'
  if (blockCount > BLOCKS_MAX) return 'a request covers too many blocks'
  if (type === 'read') return fua ? 'a read is not forced' : { type, lba, blockCount }
  if (!isOnePage(lba, blockCount)) return 'a write lies on two pages'
  const payload = takeBlocks(body, blockCount, transform)
  return payload === undefined ? 'a block is missing or damaged' : { type, lba, blockCount, payload, fua, edges }
}

const REPLY_BYTES = REQUEST_ID_BYTES + 8
type FailureCode = Extract<FrontendResult, { ok: false }>['code']
const FAILURE = {
  'stale-session': 1,
  'edge-changed': 2,
  range: 3,
  'no-space': 4,
  'read-only': 5,
  'session-broken': 6,
  damaged: 7,
  'too-many-sessions': 8,
} as const satisfies Record<FailureCode, number>
const FAILURE_NAMES = [undefined, ...Object.keys(FAILURE)] as Array<FailureCode | undefined>

export function encodeReply(out: ControlWriter, { id, result }: Reply): void {
  const at = out.room(REPLY_BYTES)
  const { view } = out
  putRequestId(view, at, id)
  view.setUint16(at + 40, result.ok ? 0 : FAILURE[result.code], true)
  view.setUint16(at + 42, id.answeredBelow === undefined ? 0 : HAS_ANSWERED_BELOW, true)
  putU32(view, at + 44, result.ok ? result.versions.length : 0)
  if (result.ok) encodeVersions(out, result.versions)
}

export function decodeReply(epoch: number, body: FrameBody): Reply | string {
  const { view, at } = body
  if (body.end - at < REPLY_BYTES) return 'a reply is cut off'
  const failure = view.getUint16(at + 40, true)
  const flags = view.getUint16(at + 42, true)
  const count = view.getUint32(at + 44, true)
  const id = getRequestId(view, at, flags === HAS_ANSWERED_BELOW)
  if (id === undefined || (flags !== 0 && flags !== HAS_ANSWERED_BELOW)) return 'a reply has impossible values'
  body.at += REPLY_BYTES
  const code = FAILURE_NAMES[failure]
  if (failure !== 0 && (code === undefined || count !== 0)) return 'a reply has impossible values'
  const versions = decodeVersions(body, count)
  if (typeof versions === 'string') return versions
  const result: FrontendResult = code === undefined ? { ok: true, versions } : { ok: false, code }
  return { type: 'reply', id, epoch, result }
}
