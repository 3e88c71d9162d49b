/**
 * The encryption of one attachment, or of one reader of a snapshot: blobs of a write become ciphertext here, behind the
 * compression, and blobs of an answer what they were. ENCRYPTION.md section 2 draws them.
 *
 * No counter is used twice under a salt: it goes up with each block, and is never set.
 */
import type { UnwrappedKeys } from '../../cluster/keys/data-key.ts'
import type { Payload } from '../../engine/replication/record.ts'
import { TRANSFORM } from '../../engine/transform/transform.ts'
import { BLOB_UNITS_MAX, UNIT_BYTES, UNITS_PER_BLOCK } from '../../engine/units.ts'
import type { Blobs } from '../../engine/volume/copy-headers.ts'
import type { BlobOpener } from '../../engine/volume/restored-blocks.ts'
import { crc32c } from '../checksum.ts'
import { setIv, TAG_BYTES } from '../cipher/libcrypto.ts'
import { SALT_BYTES, SESSION_BLOCKS_MAX, SessionKeys } from '../cipher/session-keys.ts'
import type { SessionContext, WriteSession } from '../cipher/session-keys.ts'
import type { PlainBlobs } from './block-compression.ts'

const HEADER_BYTES = UNIT_BYTES
const FORMAT = 1
const CIPHER_NUMBER = { 'aes-256-xts': 1, 'aes-256-gcm': 2 } as const
/** Places in the header. */
const AT = { cipher: 1, reserved: 2, keyNumber: 4, counter: 8, salt: 16, tag: 32, reservedToo: 48 } as const
/** Of the header what GCM covers; the LBA follows. */
const COVERED_BYTES = AT.tag
/** Blobs are laid one behind the other in pieces of memory: a piece for each costs more than the cipher. */
const PIECE_BYTES = 256 * 1024

export class BlockEncryption implements BlobOpener {
  readonly #sessions: SessionKeys
  readonly #onRefused: (lba: number) => void
  readonly #sessionBlocksMax: number
  readonly #aad = new Uint8Array(new ArrayBuffer(COVERED_BYTES + 8))
  readonly #aadView = new DataView(this.#aad.buffer)
  #writing: WriteSession | undefined
  /** Of the next blob, but for counter and tag. */
  #header = new Uint8Array(HEADER_BYTES)
  #counter = 0
  #piece = new Uint8Array(0)
  #pieceView = new DataView(this.#piece.buffer)
  #at = 0
  /** Of the blob before: most that are read together were written together. */
  #lastHeader = new Uint8Array(HEADER_BYTES)
  #lastContext: SessionContext | undefined

  /**
   * @param opened  this one's from now on: `close` erases the keys
   * @param onRefused  what was stored for that LBA was not made by somebody with the key
   * @param sessionBlocksMax  written under one salt
   */
  constructor(
    opened: UnwrappedKeys,
    onRefused: (lba: number) => void = () => {},
    sessionBlocksMax = SESSION_BLOCKS_MAX,
  ) {
    this.#sessionBlocksMax = sessionBlocksMax
    this.#sessions = new SessionKeys(opened)
    this.#onRefused = onRefused
  }

  /** @param blobs  of consecutive blocks from `lba` on, as compression left them */
  payloadOf({ bytes, units }: PlainBlobs, lba: number): Payload {
    const count = units?.length ?? bytes.length / (UNITS_PER_BLOCK * UNIT_BYTES)
    const sealedUnits = new Uint8Array(count)
    const crcs = new Uint32Array(count)
    this.#reserve(bytes.length + count * HEADER_BYTES)
    const start = this.#at
    for (let i = 0, from = 0; i < count; i++) {
      const length = (units === undefined ? UNITS_PER_BLOCK : units[i]!) * UNIT_BYTES
      const end = this.#at + HEADER_BYTES + length
      this.#seal(bytes.subarray(from, from + length), lba + i)
      crcs[i] = crc32c(this.#piece.subarray(this.#at, end))
      sealedUnits[i] = length / UNIT_BYTES + 1
      from += length
      this.#at = end
    }
    const transform = units === undefined ? TRANSFORM.cipher : TRANSFORM.lz4 | TRANSFORM.cipher
    const sealed = this.#piece.subarray(start, this.#at)
    const data: Blobs = { bytes: sealed, crcs, stored: { transform, units: sealedUnits } }
    return { bytes: sealed.length, data }
  }

  /** Into the piece, at its place. */
  #seal(plain: Uint8Array, lba: number): void {
    if (this.#writing === undefined || this.#counter === this.#sessionBlocksMax) this.#begin()
    const at = this.#at
    const counter = ++this.#counter
    this.#piece.set(this.#header, at)
    this.#pieceView.setUint32(at + AT.counter, counter >>> 0, true)
    this.#pieceView.setUint32(at + AT.counter + 4, Math.floor(counter / 2 ** 32), true)
    const header = this.#piece.subarray(at, at + HEADER_BYTES)
    const into = this.#piece.subarray(at + HEADER_BYTES, at + HEADER_BYTES + plain.length)
    this.#run(this.#writing!.context, header, lba, { from: plain, into })
  }

  #begin(): void {
    if (this.#writing !== undefined) this.#sessions.endWriting(this.#writing)
    const { keyNumber, salt } = (this.#writing = this.#sessions.beginWriting())
    this.#counter = 0
    this.#header = new Uint8Array(HEADER_BYTES)
    const view = new DataView(this.#header.buffer)
    view.setUint8(0, FORMAT)
    view.setUint8(AT.cipher, CIPHER_NUMBER[this.#sessions.opened.cipher])
    view.setUint32(AT.keyNumber, keyNumber, true)
    this.#header.set(salt, AT.salt)
  }

  openedBytes(blob: Uint8Array): number {
    return blob.length - HEADER_BYTES
  }

  open(blob: Uint8Array, lba: number, into: Uint8Array): boolean {
    const context = blob.length <= BLOB_UNITS_MAX * UNIT_BYTES ? this.#contextOf(blob) : undefined
    const header = blob.subarray(0, HEADER_BYTES)
    return context !== undefined && this.#run(context, header, lba, { from: blob.subarray(HEADER_BYTES), into })
  }

  refused(lba: number): void {
    this.#onRefused(lba)
  }

  /** Under the counter of a header. False: the tag of it does not fit. */
  #run(
    context: SessionContext,
    header: Uint8Array,
    lba: number,
    { from, into }: { from: Uint8Array; into: Uint8Array },
  ): boolean {
    const lbaHigh = Math.floor(lba / 2 ** 32)
    const lbaLow = lba - lbaHigh * 2 ** 32
    const counterLow = wordAt(header, AT.counter)
    const counterHigh = wordAt(header, AT.counter + 4)
    if (context.cipher === 'aes-256-xts') {
      setIv(lbaLow, lbaHigh, counterLow, counterHigh)
      context.xts.run(from, into)
      return true
    }
    this.#aad.set(header.subarray(0, COVERED_BYTES))
    this.#aadView.setUint32(COVERED_BYTES, lbaLow, true)
    this.#aadView.setUint32(COVERED_BYTES + 4, lbaHigh, true)
    setIv(counterLow, counterHigh, 0, 0)
    return context.gcm.run(this.#aad, from, into, header.subarray(AT.tag, AT.tag + TAG_BYTES))
  }

  /** Undefined: no blob of this volume's cipher and keys. */
  #contextOf(blob: Uint8Array): SessionContext | undefined {
    if (blob.length < 2 * UNIT_BYTES) return undefined
    for (let at: number = AT.reservedToo; at < HEADER_BYTES; at += 4) if (wordAt(blob, at) !== 0) return undefined
    if (this.#lastContext !== undefined && isOneSession(blob, this.#lastHeader)) return this.#lastContext
    const { cipher } = this.#sessions.opened
    if (blob[0] !== FORMAT || blob[AT.cipher] !== CIPHER_NUMBER[cipher]) return undefined
    if (blob[AT.reserved] !== 0 || blob[AT.reserved + 1] !== 0) return undefined
    const context = this.#sessions.reading(wordAt(blob, AT.keyNumber), blob.subarray(AT.salt, AT.salt + SALT_BYTES))
    this.#lastContext = context
    this.#lastHeader.set(blob.subarray(0, HEADER_BYTES))
    return context
  }

  #reserve(lengthBytes: number): void {
    if (this.#piece.length - this.#at >= lengthBytes) return
    this.#piece = new Uint8Array(Math.max(PIECE_BYTES, lengthBytes))
    this.#pieceView = new DataView(this.#piece.buffer)
    this.#at = 0
  }

  /** Nothing is sealed or opened after that. */
  close(): void {
    if (this.#writing !== undefined) this.#sessions.endWriting(this.#writing)
    this.#writing = undefined
    this.#lastContext = undefined
    this.#sessions.close()
  }
}

const wordAt = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0

/** Format, cipher, key number and salt are the same. */
function isOneSession(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < AT.counter; i++) if (a[i] !== b[i]) return false
  for (let i = AT.salt; i < AT.tag; i++) if (a[i] !== b[i]) return false
  return true
}
