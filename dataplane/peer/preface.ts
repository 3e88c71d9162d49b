/**
 * What both ends say before the first frame (PROTOCOL.md section 2): who they are, which versions they speak, and for
 * whom the connection is meant. Plain and of fixed length, so that the thread that accepted a connection can hand it to
 * the worker it names. Pure: bytes <-> Preface, and the judgement of the accepting side.
 */
import { isNodeName } from '../../cluster/api/names.ts'
import { assert } from '../../engine/assert.ts'
import { getText, hexToUuid, putText, uuidToHex, viewOf, UUID_BYTES } from '../../engine/log/bytes.ts'
import { crc32c } from '../checksum.ts'
import {
  ANSWER, LANE, PREFACE_BYTES, PREFACE_MAGIC, ROLE, VERSION_GREATEST, VERSION_LEAST,
} from './protocol.ts'
import type { Answer, Lane, Role } from './protocol.ts'

const NODE_FIELD_BYTES = 64
const CRC_AT = PREFACE_BYTES - 4
export const NONCE_BYTES = 16
/** A bit of byte 18; the others, and byte 19, are not looked at. */
const WANTS_TLS = 1
export const ZERO_ID = '0'.repeat(2 * UUID_BYTES)

export interface Preface {
  versionLeast: number
  versionGreatest: number
  role: Role
  lane: Lane
  answer: Answer
  /** Of the accepting side that accepts, else 0. */
  version: number
  worker: number
  /** The worker that is meant. */
  toWorker: number
  /** Of the side that asks in plain text: TLS is to begin behind the answer. */
  wantsTls: boolean
  clusterId: string
  instance: string
  /** The instance that is meant; zeroes: whichever there is. */
  toInstance: string
  /** Drawn for each connection. */
  nonce: string
  node: string
  toNode: string
  /** How much the sender of this preface takes before it has reported it as consumed. */
  windowBytes: number
}

const NAMES = {
  role: new Map(Object.entries(ROLE).map(([name, value]) => [value as number, name as Role])),
  lane: new Map(Object.entries(LANE).map(([name, value]) => [value as number, name as Lane])),
  answer: new Map(Object.entries(ANSWER).map(([name, value]) => [value as number, name as Answer])),
}

export function encodePreface(preface: Preface): Uint8Array {
  assert(isNodeName(preface.node) && isNodeName(preface.toNode), 'a preface names nodes')
  const bytes = new Uint8Array(PREFACE_BYTES)
  const view = viewOf(bytes)
  bytes.set(PREFACE_MAGIC)
  bytes[8] = preface.versionLeast
  bytes[9] = preface.versionGreatest
  bytes[10] = ROLE[preface.role]
  bytes[11] = LANE[preface.lane]
  bytes[12] = ANSWER[preface.answer]
  bytes[13] = preface.version
  view.setUint16(14, preface.worker, true)
  view.setUint16(16, preface.toWorker, true)
  bytes[18] = preface.wantsTls ? WANTS_TLS : 0
  view.setUint32(20, preface.windowBytes, true)
  bytes.set(hexToUuid(preface.clusterId), 24)
  bytes.set(hexToUuid(preface.instance), 40)
  bytes.set(hexToUuid(preface.toInstance), 56)
  bytes.set(hexToUuid(preface.nonce), 72)
  putText(bytes, 88, NODE_FIELD_BYTES, preface.node)
  putText(bytes, 152, NODE_FIELD_BYTES, preface.toNode)
  view.setUint32(CRC_AT, crc32c(bytes.subarray(0, CRC_AT)), true)
  return bytes
}

/** @returns why it is none, as words for the log */
export function decodePreface(bytes: Uint8Array): Preface | string {
  if (bytes.length !== PREFACE_BYTES) return 'a preface has 224 bytes'
  const view = viewOf(bytes)
  for (let i = 0; i < PREFACE_MAGIC.length; i++) if (bytes[i] !== PREFACE_MAGIC[i]) return 'not a peer: wrong magic'
  if (view.getUint32(CRC_AT, true) !== crc32c(bytes.subarray(0, CRC_AT)) >>> 0) return 'the preface is damaged'
  const role = NAMES.role.get(bytes[10]!)
  const lane = NAMES.lane.get(bytes[11]!)
  const answer = NAMES.answer.get(bytes[12]!)
  if (role === undefined || lane === undefined || answer === undefined) return 'the preface has unknown values'
  const [versionLeast, versionGreatest] = [bytes[8]!, bytes[9]!]
  if (versionLeast === 0 || versionLeast > versionGreatest) return 'the preface names no version'
  const node = getText(bytes, 88, NODE_FIELD_BYTES)
  const toNode = getText(bytes, 152, NODE_FIELD_BYTES)
  if (!isNodeName(node) || !isNodeName(toNode)) return 'the preface names no node'
  const idAt = (at: number): string => uuidToHex(bytes.subarray(at, at + UUID_BYTES))
  return {
    versionLeast,
    versionGreatest,
    role,
    lane,
    answer,
    version: bytes[13]!,
    worker: view.getUint16(14, true),
    toWorker: view.getUint16(16, true),
    wantsTls: (bytes[18]! & WANTS_TLS) !== 0,
    windowBytes: view.getUint32(20, true),
    clusterId: idAt(24),
    instance: idAt(40),
    toInstance: idAt(56),
    nonce: idAt(72),
    node,
    toNode,
  }
}

/** The greatest version both speak, undefined when there is none. */
export function commonVersion(one: Preface, other: Preface): number | undefined {
  const version = Math.min(one.versionGreatest, other.versionGreatest)
  return version >= Math.max(one.versionLeast, other.versionLeast) ? version : undefined
}

export interface PeerSelf {
  clusterId: string
  node: string
  /** Of this process. */
  instance: string
  worker: number
  role: Role
}

export function askingPreface(
  self: PeerSelf,
  to: { node: string; worker: number; lane: Lane; nonce: string; windowBytes: number },
): Preface {
  const { clusterId, node, instance, worker, role } = self
  const versions = { versionLeast: VERSION_LEAST, versionGreatest: VERSION_GREATEST }
  const { lane, nonce, windowBytes } = to
  return {
    ...versions, role, lane, answer: 'asked', version: 0, worker, toWorker: to.worker, wantsTls: false, clusterId,
    instance, toInstance: ZERO_ID, nonce, node, toNode: to.node, windowBytes,
  }
}

/** The accepting side's own words; its judgement of `asked` becomes `answer` and `version`. */
export function answeringPreface(
  self: PeerSelf,
  asked: Preface,
  own: { nonce: string; windowBytes: number; answer: Answer },
): Preface {
  const to = { node: asked.node, worker: asked.worker, lane: asked.lane, ...own }
  const preface = { ...askingPreface(self, to), answer: own.answer, toInstance: asked.instance }
  const version = own.answer === 'accepted' ? commonVersion(preface, asked) : 0
  assert(version !== undefined, 'versions were judged before')
  return { ...preface, version }
}

/** What the accepting side can say of a preface without knowing its peers. */
export function judgeAsked(self: PeerSelf, asked: Preface): Answer {
  if (asked.clusterId !== self.clusterId) return 'cluster'
  if (asked.toNode !== self.node || asked.toWorker !== self.worker) return 'not-me'
  if (asked.toInstance !== ZERO_ID && asked.toInstance !== self.instance) return 'not-me'
  if (asked.node === self.node && asked.role === 'worker') return 'self'
  const ours = { ...asked, versionLeast: VERSION_LEAST, versionGreatest: VERSION_GREATEST }
  return commonVersion(ours, asked) === undefined ? 'version' : 'accepted'
}

/** What is wrong with the answer to our preface; undefined: the connection stands. */
export function judgeAnswer(own: Preface, answer: Preface): string | undefined {
  if (answer.clusterId !== own.clusterId) return 'it belongs to another cluster'
  if (answer.node !== own.toNode || answer.worker !== own.toWorker) return 'another node answers there'
  if (answer.toInstance !== own.instance || answer.toNode !== own.node) return 'the answer is not for us'
  if (answer.lane !== own.lane || answer.role !== 'worker') return 'the answer is not to what was asked'
  if (answer.answer !== 'accepted') return `refused: ${answer.answer}`
  return answer.version === commonVersion(own, answer) ? undefined : 'the answer names another version'
}

/**
 * What the checksums of one direction begin with: a frame of another connection, or of the other direction, fails.
 * Of the prefaces without their own checksums: the crc of anything with its crc behind it is one and the same number.
 */
export function directionSeed(from: Preface, to: Preface): number {
  const sealed = (preface: Preface): Uint8Array => encodePreface(preface).subarray(0, CRC_AT)
  return crc32c(sealed(to), crc32c(sealed(from))) >>> 0
}
