/**
 * Messages of the core <-> frames: which type a message has, what of it stands in the header, and which codec lays the
 * rest. Bytes that are no message come back as a sentence for the log, whatever they are; nothing here throws for what
 * came from outside.
 *
 *   hot, by hand: append log reconcile | stored | fill versions | request reply | snapshot-blocks
 *   all others: msgpack and a shape
 */
import { assert } from '../../engine/assert.ts'
import type { FrontendMessage, PeerMessage } from '../../engine/replication/messages.ts'
import type { Beacon } from '../../engine/replication/leases.ts'
import type { BlockVersion, ControlChange } from '../../engine/replication/record.ts'
import { transformOf } from './block-payload.ts'
import type { FrameBody } from './block-payload.ts'
import { decodeValue, encodeValue, plainOf } from './control-value.ts'
import type { ControlWriter } from './control-writer.ts'
import { MESSAGE_SHAPES } from './message-shapes.ts'
import {
  COPY_FRAME, CROWDED_SINCE, DAMAGED_SINCE, DURABILITY_SINCE, FRONTEND_FRAME, LINK_FRAME, SHRINKS_SINCE, sinceVersion,
  transformsSince, VERSION_GREATEST,
} from './protocol.ts'
import { decodeRecords, encodeRecords } from './records-codec.ts'
import { decodeReply, decodeRequest, encodeReply, encodeRequest } from './request-codec.ts'
import { decodeStored, encodeStored } from './stored-codec.ts'
import {
  decodeFill, decodeFoundVersions, decodeSnapshotBlocks, encodeFill, encodeFoundVersions, encodeSnapshotBlocks,
} from './versions-codec.ts'

/** Between two nodes. Sender and receiver of a beacon are those of the connection, so they are not repeated in it. */
export type LinkMessage =
  | ({ type: 'beacon' } & Omit<Beacon, 'from' | 'instance' | 'to'>)
  /** Of a supervisor: this instance of its node's daemon was reaped. */
  | { type: 'ended'; instance: string }
  | { type: 'ended-heard'; instance: string }

export type WireMessage = LinkMessage | PeerMessage | FrontendMessage
/** Those that carry blocks, and the answer to each. */
export type HandLaid =
  'append' | 'log' | 'reconcile' | 'stored' | 'fill' | 'versions' | 'request' | 'reply' | 'snapshot-blocks'
export type MessageFamily = 'link' | 'copy' | 'frontend'

export const FRAME_TYPE: Record<WireMessage['type'], number> = { ...LINK_FRAME, ...COPY_FRAME, ...FRONTEND_FRAME }

const NAMES = new Map<number, WireMessage['type']>()
for (const [name, type] of Object.entries(FRAME_TYPE)) NAMES.set(type, name as WireMessage['type'])

export const familyOf = (type: number): MessageFamily =>
  type < COPY_FRAME.append ? 'link' : type < FRONTEND_FRAME.open ? 'copy' : 'frontend'

export const typeName = (type: number): string => NAMES.get(type) ?? `type ${type}`

/** The least version of the protocol that has such a message, with what is in it. */
export const versionFor = (message: WireMessage): number =>
  Math.max(
    sinceVersion(FRAME_TYPE[message.type]),
    transformsSince(transformsOf(message)),
    isNumbered(message) ? DAMAGED_SINCE : 1,
    hasShrinks(message) ? SHRINKS_SINCE : 1,
    changes(message, 'durability') || saysDurability(message) ? DURABILITY_SINCE : 1,
    isCrowded(message) ? CROWDED_SINCE : 1,
  )

const STALE = { ok: false, code: 'stale-session' } as const

const isCrowded = (message: WireMessage): message is Extract<WireMessage, { type: 'reply' }> =>
  message.type === 'reply' && !message.result.ok && message.result.code === 'too-many-sessions'

/** The message as a connection of this version has it: less is said to a node of before. Undefined: it has none. */
export function forVersion(message: WireMessage, version: number): WireMessage | undefined {
  // The newest has all: nobody looks through the records of each append.
  if (version === VERSION_GREATEST) return message
  const said = version < CROWDED_SINCE && isCrowded(message) ? { ...message, result: STALE }
    : version < DAMAGED_SINCE && isNumbered(message) ? unnumbered(message)
    : version < DURABILITY_SINCE && saysDurability(message) ? withoutDurability(message)
    : message
  return said === undefined || versionFor(said) > version ? undefined : said
}

/**
 * Whether the other end takes it. What it does not take ends its connection, for all volumes of two workers. So who
 * takes something from outside bounds it there; this is the second line, for what was missed. Looked at is what this
 * process did not make: it came from a client, the cluster store, a disk or another node.
 */
export function isSayable(message: WireMessage): boolean {
  switch (message.type) {
    // Of every write.
    case 'append':
    case 'stored':
    case 'request':
    case 'reply':
      return true
    case 'refused':
    case 'new-epoch':
    case 'promised':
    case 'hello':
    case 'fence':
    case 'fenced':
    case 'join':
    case 'fill-start':
    case 'snapshot-open':
    case 'snapshot-opened':
      return MESSAGE_SHAPES[message.type](plainOf(fieldsOf(message)))
    default:
      return true
  }
}

/** Of a message, what stands in its control part. */
function fieldsOf(message: WireMessage): Record<string, unknown> {
  const fields: Record<string, unknown> = { ...message }
  delete fields.type
  delete fields.epoch
  return fields
}

type Numbered = Extract<PeerMessage, { type: 'fetch-versions' | 'versions' }>

const isNumbered = (message: WireMessage): message is Numbered =>
  (message.type === 'fetch-versions' || message.type === 'versions') && message.asked !== undefined

/** An answer that has nothing else to say is none. */
function unnumbered(message: Numbered): Numbered | undefined {
  if (message.type === 'fetch-versions') return { type: 'fetch-versions', epoch: message.epoch, wanted: message.wanted }
  const { epoch, versions, missing } = message
  return versions.length + missing.length === 0 ? undefined : { type: 'versions', epoch, versions, missing }
}

type FillStart = Extract<PeerMessage, { type: 'fill-start' }>

const saysDurability = (message: WireMessage): message is FillStart =>
  message.type === 'fill-start' && message.durability !== undefined

/** A node of before takes it from the descriptor when it opens the copy next; until it was newer none changed. */
function withoutDurability({ durability: _, ...rest }: FillStart): FillStart {
  return rest
}

const hasShrinks = (message: WireMessage): boolean =>
  changes(message, 'shrink') || (message.type === 'fill-start' && message.sliceCount !== undefined)

/** Whether one of its records is such a change of the volume. */
function changes(message: WireMessage, operation: ControlChange['operation']): boolean {
  if (message.type !== 'append' && message.type !== 'log' && message.type !== 'reconcile') return false
  return message.records.some((record) => record.kind === 'control' && record.change.operation === operation)
}

/** All that were used for what is in it. */
function transformsOf(message: WireMessage): number {
  switch (message.type) {
    case 'append':
    case 'log':
    case 'reconcile':
      return message.records.reduce((all, one) => (one.kind === 'write' ? all | transformOf(one.payload) : all), 0)
    case 'request':
      return message.operation.type === 'write' ? transformOf(message.operation.payload) : 0
    case 'reply':
      return message.result.ok ? transformsOfAll(message.result.versions) : 0
    case 'fill':
    case 'versions':
    case 'snapshot-blocks':
      return transformsOfAll(message.versions)
    default:
      return 0
  }
}

function transformsOfAll(versions: readonly BlockVersion[]): number {
  let all = 0
  for (const { payload } of versions) if (payload !== undefined) all |= transformOf(payload)
  return all
}

/** Lays the control part. @returns for a list of records the first one that did not fit, else undefined */
export function encodeMessage(out: ControlWriter, message: WireMessage, firstRecord = 0): number | undefined {
  switch (message.type) {
    case 'append':
    case 'log':
    case 'reconcile': {
      const next = encodeRecords(out, message, firstRecord)
      return next < message.records.length ? next : undefined
    }
    case 'stored':
      encodeStored(out, message)
      return undefined
    case 'fill':
      encodeFill(out, message)
      return undefined
    case 'versions':
      encodeFoundVersions(out, message)
      return undefined
    case 'request':
      encodeRequest(out, message)
      return undefined
    case 'reply':
      encodeReply(out, message)
      return undefined
    case 'snapshot-blocks':
      encodeSnapshotBlocks(out, message)
      return undefined
    default:
      out.put(encodeValue(fieldsOf(message)))
      return undefined
  }
}

/** What the header says of a message's epoch; 0 where it belongs to none. */
export const epochOf = (message: WireMessage): number => ('epoch' in message ? message.epoch : 0)

/** Messages that name no epoch; a header that does is refused. */
const WITHOUT_EPOCH: ReadonlySet<number> = new Set([
  ...Object.values(LINK_FRAME), COPY_FRAME.join, FRONTEND_FRAME.open, FRONTEND_FRAME['snapshot-open'],
  FRONTEND_FRAME['snapshot-close'], FRONTEND_FRAME['snapshot-ask'],
])

/** @returns why the bytes are no message of this type, as words for the log */
export function decodeMessage(type: number, epoch: number, body: FrameBody): WireMessage | string {
  if (WITHOUT_EPOCH.has(type) && epoch !== 0) return 'a message that belongs to no epoch names one'
  switch (type) {
    case COPY_FRAME.append:
      return decodeRecords('append', epoch, body)
    case COPY_FRAME.log:
      return decodeRecords('log', epoch, body)
    case COPY_FRAME.reconcile:
      return decodeRecords('reconcile', epoch, body)
    case COPY_FRAME.stored:
      return decodeStored(epoch, body)
    case COPY_FRAME.fill:
      return decodeFill(epoch, body)
    case COPY_FRAME.versions:
      return decodeFoundVersions(epoch, body)
    case FRONTEND_FRAME.request:
      return decodeRequest(epoch, body)
    case FRONTEND_FRAME.reply:
      return decodeReply(epoch, body)
    case FRONTEND_FRAME['snapshot-blocks']:
      return decodeSnapshotBlocks(epoch, body)
    default:
      return decodePlain(type, epoch, body)
  }
}

function decodePlain(type: number, epoch: number, body: FrameBody): WireMessage | string {
  const name = NAMES.get(type)
  if (name === undefined) return 'unknown type'
  const shape = MESSAGE_SHAPES[name as Exclude<WireMessage['type'], HandLaid>]
  if (body.payloadAt !== body.payloadEnd) return 'payload where there is none'
  const decoded = decodeValue(body.bytes.subarray(body.at, body.end))
  if ('refused' in decoded) return decoded.refused
  if (!shape(decoded.value)) return 'fields that are missing, unknown or out of range'
  const fields = decoded.value as Record<string, unknown>
  assert(fields.type === undefined && fields.epoch === undefined, 'shapes know neither type nor epoch')
  const message: Record<string, unknown> = { type: name, ...fields }
  if (!WITHOUT_EPOCH.has(type)) message.epoch = epoch
  if (type === LINK_FRAME.beacon) message.got ??= undefined
  if (type === FRONTEND_FRAME.redirect) {
    message.id ??= undefined
    message.primary ??= undefined
  }
  return message as WireMessage
}
