/**
 * The control part of a peer's messages, without the frames and checksums around it. Promises: a decoder answers the
 * value or says why not; a value that comes out is written and read again as it is.
 */
import fc from 'fast-check'
import { assert } from '../../../engine/assert.ts'
import { decodeValue, encodeValue } from '../../../dataplane/peer/control-value.ts'
import { decodeMessage, FRAME_TYPE } from '../../../dataplane/peer/message-codec.ts'
import type { FrameBody } from '../../../dataplane/peer/block-payload.ts'
import { HEADER_BYTES } from '../../../dataplane/peer/protocol.ts'
import { anyOf, MESSAGE_TYPES } from '../../dataplane/peer/any-message.ts'
import { bytesOf } from '../../dataplane/peer/wire.ts'
import { chosen } from '../target.ts'
import type { Target } from '../target.ts'

const TYPES = Object.values(FRAME_TYPE)

export const target: Target = {
  parsers: [
    'dataplane/peer/control-value.ts', 'dataplane/peer/message-codec.ts', 'dataplane/peer/message-shapes.ts',
    'engine/value-shape.ts', 'dataplane/peer/shape.ts', 'dataplane/peer/records-codec.ts',
    'dataplane/peer/request-codec.ts',
    'dataplane/peer/stored-codec.ts', 'dataplane/peer/versions-codec.ts', 'dataplane/peer/byte-fields.ts',
  ],
  seeds: () => MESSAGE_TYPES.flatMap((type) => fc.sample(anyOf(type), { numRuns: 4, seed: 3 }).map((message) => {
    const bytes = bytesOf([message])
    const end = HEADER_BYTES + Math.min(bytes.readUInt32LE(8), 2000)
    return chosen(TYPES.indexOf(FRAME_TYPE[message.type]), bytes.subarray(HEADER_BYTES, end))
  })),
  execute(input) {
    if (input.length === 0) return
    const type = TYPES[input[0]! % TYPES.length]!
    const bytes = input.slice(1)
    const body: FrameBody = bodyOf(bytes)
    decodeMessage(type, 0, body)
    decodeMessage(type, 3, body)
    const decoded = decodeValue(bytes)
    if ('refused' in decoded) return
    const again = decodeValue(encodeValue(decoded.value).slice())
    assert('value' in again && JSON.stringify(again.value) === JSON.stringify(decoded.value), 'it is read as written')
  },
}

/** Without a payload. */
function bodyOf(bytes: Uint8Array): FrameBody {
  return {
    bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length), at: 0, end: bytes.length,
    payloadAt: bytes.length, payloadEnd: bytes.length,
  }
}
