/**
 * The handshake of one connection as a pure machine: `feed(bytes)` says what to send and what happened. It touches
 * no volume, only the directory of exports, and keeps at most one option's data (8 KiB), checked before it is kept.
 *
 *   flags --client flags--> options --EXPORT_NAME, GO--> transmission        (bytes behind it are the leftover)
 *                           options --any other-->       options             (a reply per option; unknown: UNSUP)
 *                           options --a name to look for--> looking --`looked`--> the same option goes on
 *                           options --LIST--> listing --the last export--> options
 *     any --broken or refused--> closed                  options --ABORT--> closed
 *
 *   after            | ask for structured | ask for extended | SET_META_CONTEXT       | EXPORT_NAME
 *   nothing          | ACK                | ACK              | INVALID                | transmission
 *   structured       | ACK                | ACK              | ACK, contexts replaced | transmission
 *   extended headers | EXT_HEADER_REQD    | ACK              | ACK, contexts replaced | closed (the text forbids it)
 *
 * An export that the directory does not know at once (a snapshot, of which only its volume's primary knows) is looked
 * for by the surroundings, once a connection; bytes that come meanwhile wait. So they do while replies do: a step makes
 * `STEP_REPLY_BYTES_MAX` of them and one more, whatever was asked for in one piece, and `goOn` makes the next ones when
 * these were taken.
 *
 * Contexts count only if the export entered is the one they were set for. In plain text STARTTLS is answered UNSUP and
 * changes nothing; where TLS is forced, this begins behind it (tls-gate.ts), with nothing of before but the flags.
 *
 * Source: doc/proto.md "Fixed newstyle negotiation", "Option types"; limits from the reliability checklist.
 */
import { assert } from '../../engine/assert.ts'
import {
  decodeInfoRequest, decodeMetaContextRequest, encodeExport, encodeInfoBlockSize, encodeInfoExport, encodeInfoText,
  encodeMetaContext, encodeOptionReply, encodeServer,
} from './option-data.ts'
import {
  BASE_ALLOCATION, BASE_ALLOCATION_ID, IHAVEOPT, NAME_BYTES_MAX, NBDMAGIC, NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES, NBD_FLAG_FIXED_NEWSTYLE, NBD_FLAG_NO_ZEROES, NBD_INFO_BLOCK_SIZE, NBD_INFO_DESCRIPTION,
  NBD_INFO_NAME, NBD_OPT_ABORT, NBD_OPT_EXPORT_NAME, NBD_OPT_EXTENDED_HEADERS, NBD_OPT_GO, NBD_OPT_INFO, NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT, NBD_OPT_STARTTLS, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK,
  NBD_REP_ERR_EXT_HEADER_REQD, NBD_REP_ERR_INVALID, NBD_REP_ERR_POLICY, NBD_REP_ERR_SHUTDOWN, NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN, NBD_REP_ERR_UNSUP, NBD_REP_INFO, NBD_REP_META_CONTEXT, NBD_REP_SERVER, OPTION_BYTES,
  PAYLOAD_ADVERTISED_BYTES, transmissionFlags,
} from './protocol.ts'
import type { Negotiated } from './protocol.ts'

export interface ExportInfo {
  name: string
  sizeBytes: number
  blockSizeBytes: number
  readOnly: boolean
  description: string
  /** The data worker that owns the volume. */
  worker: number
  /** Of a snapshot: opened for this connection. */
  reader?: number
}

/** What became of looking for an export; a sentence: it may be there, and cannot be used now. */
export type Looked = ExportInfo | undefined | { refused: string }

export interface ExportDirectory {
  list(): ExportInfo[]
  /** The empty name asks for the default export. */
  find(name: string): Looked
  /** Undefined: no name that it could find so. What it finds is the connection's, to be given back by `drop`. */
  look?(name: string): Promise<Looked> | undefined
  drop?(found: ExportInfo): void
  /** It is the session's from now on. */
  entered?(found: ExportInfo): void
  /** Why that node, by a certificate that is valid from then on, may use none of them. */
  whyNot?(node: string, issuedAtMs: number): string | undefined
}

/** What the surroundings say when an export is about to be entered. */
export type Entry = 'enter' | 'too-many' | 'stopping'

/** Longest data of one option. Up to the second bound it is read over and refused, above it the connection ends. */
export const OPTION_DATA_BYTES_MAX = 8 * 1024
export const OPTION_SKIP_BYTES_MAX = 64 * 1024
/** `qemu-nbd --list` asks two per export on one connection. */
export const OPTIONS_MAX = 4096
/** Exports that are not listed and that one connection looks for, and bytes of it that wait meanwhile. */
const LOOKED_MAX = 16
const PENDING_BYTES_MAX = 64 * 1024
/** Clients list once. Sixteen bytes of a client ask for all exports. */
export const LISTS_MAX = 16
/** Replies are made for no longer than it takes to make so many, and no more of them are in memory at once. */
export const STEP_REPLY_BYTES_MAX = 64 * 1024

export type HandshakeEvent =
  | { type: 'transmission'; export: ExportInfo; negotiated: Negotiated; leftover: Buffer }
  | { type: 'closed'; reason: string }

export interface HandshakeStep {
  send: Buffer[]
  /** The handshake is over; nothing may be fed any more. */
  event: HandshakeEvent | undefined
  /** An export to be looked for: nothing goes on before `looked`. */
  look: string | undefined
  /** There is more to answer: nothing goes on before `goOn`, which is for when `send` was taken. */
  hasMore: boolean
}

type State = 'flags' | 'option' | 'data' | 'skip' | 'looking' | 'listing' | 'over'

/** The server speaks first. */
export const GREETING: Buffer = greeting()

function greeting(): Buffer {
  const bytes = Buffer.alloc(18)
  bytes.writeUInt32BE(NBDMAGIC[0], 0)
  bytes.writeUInt32BE(NBDMAGIC[1], 4)
  bytes.writeUInt32BE(IHAVEOPT[0], 8)
  bytes.writeUInt32BE(IHAVEOPT[1], 12)
  bytes.writeUInt16BE(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 16)
  return bytes
}

export class Handshake {
  readonly #exports: ExportDirectory
  readonly #mayEnter: (name: string) => Entry
  #state: State = 'flags'
  #pending = Buffer.alloc(0)
  #send: Buffer[] = []
  #sendBytes = 0
  #hasMore = false
  #event: HandshakeEvent | undefined
  #option = 0
  #skipBytes = 0
  #options = 0
  #lists = 0
  /** Of the list that is being sent. */
  #exportsLeft: Iterator<ExportInfo> | undefined
  #structured = false
  #extended = false
  #noZeroes = false
  #isSecure = false
  #contexts: { exportName: string; ids: number[] } = { exportName: '', ids: [] }
  /** By name, as the client says it. */
  readonly #looked = new Map<string, Looked>()
  /** How many of them are not in the list: of those there may be any number. */
  #unlisted = 0
  readonly #mayLook: (name: string) => boolean
  #look: { name: string; data: Buffer } | undefined

  /** @param mayLook  whether it could find an export of that name by looking */
  constructor(
    exports: ExportDirectory,
    mayEnter: (name: string) => Entry = () => 'enter',
    mayLook: (name: string) => boolean = () => false,
  ) {
    this.#exports = exports
    this.#mayEnter = mayEnter
    this.#mayLook = mayLook
  }

  greeting(): Buffer {
    return GREETING
  }

  feed(bytes: Uint8Array): HandshakeStep {
    assert(this.#state !== 'over' && !this.isWaiting, 'nothing is fed after the end, or while it waits')
    this.#pending = this.#pending.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#pending, bytes])
    return this.#steps()
  }

  /** What the last step sent was taken, and it had more. */
  goOn(): HandshakeStep {
    assert(this.#hasMore, 'it goes on when it had more')
    return this.#steps()
  }

  /** Flags were exchanged, and TLS began, before; there was no other option (tls-gate.ts). */
  behindTls(noZeroes: boolean): void {
    assert(this.#state === 'flags', 'TLS comes before any option')
    this.#noZeroes = noZeroes
    this.#isSecure = true
    this.#state = 'option'
  }

  /** For `looked`, or for `goOn`. */
  get isWaiting(): boolean {
    return this.#state === 'looking' || this.#hasMore
  }

  /** While it waits: bytes of the client do too, as many as a handshake may have. @returns whether they are kept */
  keep(bytes: Uint8Array): boolean {
    assert(this.isWaiting, 'bytes wait only while something is looked for, or replies are on their way')
    if (this.#pending.length + bytes.length > PENDING_BYTES_MAX) return false
    this.#pending = Buffer.concat([this.#pending, bytes])
    return true
  }

  /** The end of looking for the export that the last step named. */
  looked(found: Looked): HandshakeStep {
    assert(this.#state === 'looking' && this.#look !== undefined, 'what is looked for was asked for')
    const { name, data } = this.#look
    this.#look = undefined
    this.#looked.set(name, found)
    this.#state = 'option'
    this.#optionWith(data)
    return this.#steps()
  }

  #steps(): HandshakeStep {
    this.#hasMore = false
    while (this.#event === undefined && !this.#hasMore && this.#advance()) {
      this.#hasMore = this.#event === undefined && this.#sendBytes >= STEP_REPLY_BYTES_MAX
    }
    const send = this.#send
    this.#send = []
    this.#sendBytes = 0
    return { send, event: this.#event, look: this.#look?.name, hasMore: this.#hasMore }
  }

  /** @returns false when more bytes are needed */
  #advance(): boolean {
    switch (this.#state) {
      case 'flags': return this.#clientFlags()
      case 'option': return this.#optionHeader()
      case 'data': return this.#optionData()
      case 'skip': return this.#skip()
      case 'listing': return this.#listNext()
      case 'looking':
      case 'over': return false
    }
  }

  #take(count: number): Buffer | undefined {
    if (this.#pending.length < count) return undefined
    const bytes = this.#pending.subarray(0, count)
    this.#pending = this.#pending.subarray(count)
    return bytes
  }

  #clientFlags(): boolean {
    const bytes = this.#take(4)
    if (bytes === undefined) return false
    const flags = bytes.readUInt32BE(0)
    if ((flags & ~(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)) !== 0) return this.#close('unknown client flags')
    this.#noZeroes = (flags & NBD_FLAG_C_NO_ZEROES) !== 0
    this.#state = 'option'
    return true
  }

  #optionHeader(): boolean {
    const bytes = this.#take(OPTION_BYTES)
    if (bytes === undefined) return false
    if (bytes.readUInt32BE(0) !== IHAVEOPT[0] || bytes.readUInt32BE(4) !== IHAVEOPT[1]) {
      return this.#close('not an option')
    }
    if (++this.#options > OPTIONS_MAX) return this.#close('too many options')
    this.#option = bytes.readUInt32BE(8)
    const dataBytes = bytes.readUInt32BE(12)
    if (dataBytes > OPTION_SKIP_BYTES_MAX) return this.#close('option data too long')
    this.#skipBytes = dataBytes
    if (dataBytes <= OPTION_DATA_BYTES_MAX) this.#state = 'data'
    else if (this.#option === NBD_OPT_EXPORT_NAME) return this.#close('export name too long')
    else this.#state = 'skip'
    return true
  }

  #skip(): boolean {
    const count = Math.min(this.#skipBytes, this.#pending.length)
    this.#take(count)
    this.#skipBytes -= count
    if (this.#skipBytes > 0) return false
    this.#state = 'option'
    if (this.#option === NBD_OPT_SET_META_CONTEXT) this.#contexts = { exportName: '', ids: [] }
    return this.#refuse(NBD_REP_ERR_TOO_BIG, `option data is limited to ${OPTION_DATA_BYTES_MAX} bytes`)
  }

  #optionData(): boolean {
    const data = this.#take(this.#skipBytes)
    if (data === undefined) return false
    this.#state = 'option'
    const name = this.#nameIn(data)
    const isUnknown = name !== undefined && !this.#looked.has(name) && this.#exports.find(name) === undefined
    if (isUnknown && this.#mayLook(name)) {
      if (!this.#isListed(name) && ++this.#unlisted > LOOKED_MAX) return this.#close('too many exports')
      this.#state = 'looking'
      this.#look = { name, data: Buffer.from(data) }
      return false
    }
    return this.#optionWith(data)
  }

  #isListed(name: string): boolean {
    return this.#exports.list().some((one) => one.name === name)
  }

  /** Which export an option is about; undefined: none, or the option is wrong anyhow. */
  #nameIn(data: Buffer): string | undefined {
    const name =
      this.#option === NBD_OPT_EXPORT_NAME ? data
        : this.#option === NBD_OPT_INFO || this.#option === NBD_OPT_GO ? decodeInfoRequest(data)?.name
          : this.#option === NBD_OPT_LIST_META_CONTEXT || this.#option === NBD_OPT_SET_META_CONTEXT
            ? decodeMetaContextRequest(data)?.name
            : undefined
    return name === undefined || name.length > NAME_BYTES_MAX ? undefined : name.toString()
  }

  #optionWith(data: Buffer): boolean {
    switch (this.#option) {
      case NBD_OPT_EXPORT_NAME: return this.#exportName(data)
      case NBD_OPT_ABORT:
        this.#reply(NBD_REP_ACK)
        return this.#close('aborted by the client')
      case NBD_OPT_LIST: return this.#list(data)
      case NBD_OPT_INFO:
      case NBD_OPT_GO: return this.#info(data)
      case NBD_OPT_STRUCTURED_REPLY: return this.#structuredReply(data)
      case NBD_OPT_EXTENDED_HEADERS:
        if (data.length > 0) return this.#refuse(NBD_REP_ERR_INVALID, 'this option has no data')
        this.#extended = true
        return this.#reply(NBD_REP_ACK)
      case NBD_OPT_LIST_META_CONTEXT:
      case NBD_OPT_SET_META_CONTEXT: return this.#metaContext(data)
      case NBD_OPT_STARTTLS:
        if (this.#isSecure) return this.#refuse(NBD_REP_ERR_INVALID, 'this is TLS already')
        return this.#refuse(NBD_REP_ERR_UNSUP, 'option not supported')
      default: return this.#refuse(NBD_REP_ERR_UNSUP, 'option not supported')
    }
  }

  #exportName(data: Buffer): boolean {
    // This option has no error reply: whatever is wrong with it ends the session.
    if (this.#extended) return this.#close('EXPORT_NAME after extended headers')
    const found = data.length <= NAME_BYTES_MAX ? this.#exportOf(data.toString()) : undefined
    if (found === undefined) return this.#close('no such export')
    if ('refused' in found) return this.#close(found.refused)
    const entry = this.#mayEnter(found.name)
    if (entry !== 'enter') return this.#close(entry)
    const parts = [encodeExport(found.sizeBytes, this.#flags(found))]
    if (!this.#noZeroes) parts.push(Buffer.alloc(124))
    this.#say(Buffer.concat(parts))
    return this.#enter(found)
  }

  #list(data: Buffer): boolean {
    if (data.length > 0) return this.#refuse(NBD_REP_ERR_INVALID, 'this option has no data')
    if (++this.#lists > LISTS_MAX) return this.#refuse(NBD_REP_ERR_POLICY, `they are listed ${LISTS_MAX} times at most`)
    this.#exportsLeft = this.#exports.list().values()
    this.#state = 'listing'
    return true
  }

  #listNext(): true {
    const next = this.#exportsLeft!.next()
    if (next.done !== true) return this.#reply(NBD_REP_SERVER, encodeServer(next.value.name, next.value.description))
    this.#exportsLeft = undefined
    this.#state = 'option'
    return this.#reply(NBD_REP_ACK)
  }

  #info(data: Buffer): boolean {
    const request = decodeInfoRequest(data)
    if (request === undefined) return this.#refuse(NBD_REP_ERR_INVALID, 'lengths do not add up')
    const found = this.#find(request.name)
    if (found === undefined) return true
    if (this.#option === NBD_OPT_GO) {
      const entry = this.#mayEnter(found.name)
      if (entry === 'stopping') return this.#refuse(NBD_REP_ERR_SHUTDOWN, 'the server is stopping')
      if (entry === 'too-many') return this.#refuse(NBD_REP_ERR_POLICY, 'too many connections to this export')
    }
    this.#reply(NBD_REP_INFO, encodeInfoExport(found.sizeBytes, this.#flags(found)))
    if (request.wanted.has(NBD_INFO_NAME)) this.#reply(NBD_REP_INFO, encodeInfoText(NBD_INFO_NAME, found.name))
    if (request.wanted.has(NBD_INFO_DESCRIPTION)) {
      this.#reply(NBD_REP_INFO, encodeInfoText(NBD_INFO_DESCRIPTION, found.description))
    }
    if (request.wanted.has(NBD_INFO_BLOCK_SIZE)) {
      const sizes = { minimum: 1, preferred: found.blockSizeBytes, maximum: PAYLOAD_ADVERTISED_BYTES }
      this.#reply(NBD_REP_INFO, encodeInfoBlockSize(sizes))
    }
    this.#reply(NBD_REP_ACK)
    return this.#option === NBD_OPT_GO ? this.#enter(found) : true
  }

  #structuredReply(data: Buffer): boolean {
    if (data.length > 0) return this.#refuse(NBD_REP_ERR_INVALID, 'this option has no data')
    if (this.#extended) return this.#refuse(NBD_REP_ERR_EXT_HEADER_REQD, 'extended headers are in use')
    this.#structured = true
    return this.#reply(NBD_REP_ACK)
  }

  #metaContext(data: Buffer): boolean {
    const set = this.#option === NBD_OPT_SET_META_CONTEXT
    // The option replaces what was set before, "including when this command fails".
    if (set) this.#contexts = { exportName: '', ids: [] }
    if (!this.#structured && !this.#extended) {
      return this.#refuse(NBD_REP_ERR_INVALID, 'structured replies or extended headers come first')
    }
    const request = decodeMetaContextRequest(data)
    if (request === undefined) return this.#refuse(NBD_REP_ERR_INVALID, 'lengths do not add up')
    const found = this.#find(request.name)
    if (found === undefined) return true
    const { queries } = request
    const all = !set && (queries.length === 0 || queries.includes('base:'))
    if (all || queries.includes(BASE_ALLOCATION)) {
      this.#reply(NBD_REP_META_CONTEXT, encodeMetaContext(set ? BASE_ALLOCATION_ID : 0, BASE_ALLOCATION))
      if (set) this.#contexts = { exportName: found.name, ids: [BASE_ALLOCATION_ID] }
    }
    return this.#reply(NBD_REP_ACK)
  }

  /** Answers the option itself when there is no such export; the name is never sent back. */
  #find(name: Buffer): ExportInfo | undefined {
    if (name.length > NAME_BYTES_MAX) {
      this.#refuse(NBD_REP_ERR_TOO_BIG, `names are limited to ${NAME_BYTES_MAX} bytes`)
      return undefined
    }
    const found = this.#exportOf(name.toString())
    if (found === undefined) this.#refuse(NBD_REP_ERR_UNKNOWN, 'no such export')
    else if ('refused' in found) this.#refuse(NBD_REP_ERR_POLICY, found.refused)
    else return found
    return undefined
  }

  #exportOf(name: string): Looked {
    return this.#looked.has(name) ? this.#looked.get(name) : this.#exports.find(name)
  }

  #flags({ readOnly }: ExportInfo): number {
    return transmissionFlags({ readOnly, chunkedReplies: this.#structured || this.#extended })
  }

  #enter(found: ExportInfo): true {
    const negotiated: Negotiated = {
      structuredReplies: this.#structured,
      extendedHeaders: this.#extended,
      metaContexts: this.#contexts.exportName === found.name ? this.#contexts.ids : [],
      noZeroes: this.#noZeroes,
    }
    const leftover = Buffer.from(this.#pending)
    this.#event = { type: 'transmission', export: found, negotiated, leftover }
    return this.#over()
  }

  #close(reason: string): true {
    this.#event = { type: 'closed', reason }
    return this.#over()
  }

  #over(): true {
    this.#state = 'over'
    this.#pending = Buffer.alloc(0)
    return true
  }

  #reply(type: number, data?: Uint8Array): true {
    this.#say(encodeOptionReply(this.#option, type, data))
    return true
  }

  #say(bytes: Buffer): void {
    this.#send.push(bytes)
    this.#sendBytes += bytes.length
  }

  #refuse(type: number, message: string): true {
    return this.#reply(type, Buffer.from(message))
  }
}
