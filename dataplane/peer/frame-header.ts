/**
 * The fixed header of a frame (PROTOCOL.md section 3). Its checksum is verified before anything in it is believed, and
 * its lengths before anything is allocated. Both checksums begin with a seed that the two prefaces give, and the
 * header carries the number of the frame: one that was replayed, left out or came from elsewhere fails.
 */
import { getU48, putU48 } from '../../engine/log/bytes.ts'
import { crc32c } from '../checksum.ts'
import {
  CONTROL_BYTES_MAX, COPY_FRAME, FLAG_MORE, FRAME_MAGIC, FRONTEND_FRAME, HEADER_BYTES, LANE_FRAME,
  LINK_FRAME, PAYLOAD_BYTES_MAX, sinceVersion, WITH_MORE, WITH_PAYLOAD,
} from './protocol.ts'
import type { Lane } from './protocol.ts'

export const HEADER_CRC_AT = 52
const BODY_CRC_AT = 48
const NUMBER_UNIT = 2 ** 32

/** Reused: valid until the next header is decoded. */
export interface FrameHeader {
  type: number
  flags: number
  controlBytes: number
  payloadBytes: number
  /** Where the volume id lies in what the header was decoded from; it has 16 bytes. */
  volumeAt: number
  epoch: number
  /** Counted bytes that the sender of this frame has consumed of ours since the connection began. */
  consumedBytes: number
  bodyCrc: number
}

export const emptyHeader = (): FrameHeader => ({
  type: 0, flags: 0, controlBytes: 0, payloadBytes: 0, volumeAt: 0, epoch: 0, consumedBytes: 0, bodyCrc: 0,
})

export interface HeaderFields {
  type: number
  flags: number
  controlBytes: number
  payloadBytes: number
  volume: Uint8Array
  epoch: number
  number: number
  consumedBytes: number
  bodyCrc: number
}

export function encodeHeader(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  fields: HeaderFields,
  { version, seed }: { version: number; seed: number },
): void {
  view.setUint32(at, FRAME_MAGIC, true)
  bytes[at + 4] = version
  bytes[at + 5] = fields.type
  view.setUint16(at + 6, fields.flags, true)
  view.setUint32(at + 8, fields.controlBytes, true)
  view.setUint32(at + 12, fields.payloadBytes, true)
  bytes.set(fields.volume, at + 16)
  view.setUint32(at + 32, fields.epoch, true)
  view.setUint32(at + 36, fields.number % NUMBER_UNIT, true)
  putU48(view, at + 40, fields.consumedBytes)
  view.setUint16(at + 46, 0, true)
  view.setUint32(at + BODY_CRC_AT, fields.bodyCrc, true)
  view.setUint32(at + HEADER_CRC_AT, crc32c(bytes.subarray(at, at + HEADER_CRC_AT), seed), true)
}

const KNOWN_LANE = new Map<number, Lane | 'both'>()
for (const type of Object.values(LANE_FRAME)) KNOWN_LANE.set(type, 'both')
for (const type of Object.values(LINK_FRAME)) KNOWN_LANE.set(type, 'urgent')
for (const type of [...Object.values(COPY_FRAME), ...Object.values(FRONTEND_FRAME)]) KNOWN_LANE.set(type, 'data')

export const isLaneFrame = (type: number): boolean => KNOWN_LANE.get(type) === 'both'

/** What the reader of one direction of a connection holds a header against. */
export interface HeaderRules {
  version: number
  seed: number
  lane: Lane
  /** Of the frame that comes. */
  number: number
}

/** @returns what is wrong, undefined when `into` can be believed */
export function decodeHeader(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  rules: HeaderRules,
  into: FrameHeader,
): string | undefined {
  if (view.getUint32(at, true) !== FRAME_MAGIC) return 'wrong magic'
  const crc = view.getUint32(at + HEADER_CRC_AT, true)
  const sum = crc32c(bytes.subarray(at, at + HEADER_CRC_AT), rules.seed) >>> 0
  if (sum !== crc) return 'the header is damaged or foreign'
  if (bytes[at + 4] !== rules.version) return 'another version than agreed'
  if (view.getUint32(at + 36, true) !== rules.number % NUMBER_UNIT) return 'a frame is missing or repeated'
  const type = (into.type = bytes[at + 5]!)
  const lane = KNOWN_LANE.get(type)
  if (lane === undefined || sinceVersion(type) > rules.version) return 'unknown type'
  if (lane !== 'both' && lane !== rules.lane) return 'a type of the other lane'
  const flags = (into.flags = view.getUint16(at + 6, true))
  if (flags !== 0 && (flags !== FLAG_MORE || !WITH_MORE.has(type))) return 'unknown flags'
  const controlBytes = (into.controlBytes = view.getUint32(at + 8, true))
  const payloadBytes = (into.payloadBytes = view.getUint32(at + 12, true))
  if (controlBytes > CONTROL_BYTES_MAX) return 'the control part is too large'
  if (payloadBytes > (WITH_PAYLOAD.has(type) ? PAYLOAD_BYTES_MAX : 0)) return 'the payload is too large'
  if (view.getUint16(at + 46, true) !== 0) return 'reserved bytes are set'
  into.volumeAt = at + 16
  into.epoch = view.getUint32(at + 32, true)
  into.consumedBytes = getU48(view, at + 40)
  into.bodyCrc = view.getUint32(at + BODY_CRC_AT, true)
  return undefined
}

export const frameBytes = ({ controlBytes, payloadBytes }: { controlBytes: number; payloadBytes: number }): number =>
  HEADER_BYTES + controlBytes + payloadBytes
