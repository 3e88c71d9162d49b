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
import { SlabPool } from '../slab-pool.ts'
import { BlobMemory } from './blob-memory.ts'
import type { PlainBlobs } from './block-compression.ts'

const HEADER_BYTES = UNIT_BYTES
const FORMAT = 1
const CIPHER_NUMBER = { 'aes-256-xts': 1, 'aes-256-gcm': 2 } as const
/** Places in the header. */
const AT = { cipher: 1, reserved: 2, keyNumber: 4, counter: 8, salt: 16, tag: 32, reservedToo: 48 } as const
/** Of the header what GCM covers; the LBA follows. */
const COVERED_BYTES = AT.tag

/** A blob, and what is in it. */
interface Place {
  blob: Uint8Array
  blobAt: number
  plain: Uint8Array
  plainAt: number
  /** Of what is in it. */
  lengthBytes: number
}

export class BlockEncryption implements BlobOpener {
  readonly #sessions: SessionKeys
  readonly #onRefused: (lba: number) => void
  readonly #sessionBlocksMax: number
  readonly #memory: BlobMemory
  readonly #aad = new Uint8Array(new ArrayBuffer(COVERED_BYTES + 8))
  readonly #aadView = new DataView(this.#aad.buffer)
  #writing: WriteSession | undefined
  /** Of the next blob; counter and tag are 0. */
  #header = new Uint8Array(HEADER_BYTES)
  #counter = 0
  /** Of the blob before: most that are read together were written together. */
  #lastHeader = new Uint8Array(HEADER_BYTES)
  #lastContext: SessionContext | undefined

  /**
   * @param opened  this one's from now on: `close` erases the keys
   * @param onRefused  what was stored for that LBA was not made by somebody with the key
   * @param options  memory: where blobs are laid; sessionBlocksMax: written under one salt
   */
  constructor(
    opened: UnwrappedKeys,
    onRefused: (lba: number) => void = () => {},
    options: { memory?: BlobMemory; sessionBlocksMax?: number } = {},
  ) {
    this.#sessionBlocksMax = options.sessionBlocksMax ?? SESSION_BLOCKS_MAX
    this.#memory = options.memory ?? new BlobMemory(new SlabPool())
    this.#sessions = new SessionKeys(opened)
    this.#onRefused = onRefused
  }

  /** How many keys it has. */
  get keyCount(): number {
    return this.#sessions.opened.keys.length
  }

  /** Key number of what comes next. */
  get writesUnder(): number {
    return this.#sessions.writesUnder
  }

  /** What comes next is under the newest data key. */
  get writesNewest(): boolean {
    return this.writesUnder >= (this.#sessions.opened.newestFrom ?? 1)
  }

  /** Another attachment's keys of the same volume, this one's from now on. What comes next is written as they say. */
  renew(opened: UnwrappedKeys): void {
    this.#sessions.renew(opened)
    if (this.#writing === undefined || this.#writing.keyNumber === this.#sessions.writesUnder) return
    this.#sessions.endWriting(this.#writing)
    this.#writing = undefined
  }

  /** Whether it is under a former data key. What is no blob is nobody's to write anew. */
  isFormer(blob: Uint8Array): boolean {
    return blob.length >= 2 * UNIT_BYTES && wordAt(blob, AT.keyNumber) < (this.#sessions.opened.newestFrom ?? 1)
  }

  /** @param blobs  of consecutive blocks from `lba` on, as compression left them */
  payloadOf({ bytes, units }: PlainBlobs, lba: number): Payload {
    const count = units?.length ?? bytes.length / (UNITS_PER_BLOCK * UNIT_BYTES)
    const sealedUnits = new Uint8Array(count)
    const crcs = new Uint32Array(count)
    const lengthBytes = bytes.length + count * HEADER_BYTES
    const slab = this.#memory.room(lengthBytes)
    let at = this.#memory.at
    for (let i = 0, from = 0; i < count; i++) {
      const length = (units === undefined ? UNITS_PER_BLOCK : units[i]!) * UNIT_BYTES
      const blob = slab.bytes.subarray(at, at + HEADER_BYTES + length)
      this.#seal({ blob: slab.bytes, blobAt: at, plain: bytes, plainAt: from, lengthBytes: length }, slab.view, lba + i)
      crcs[i] = crc32c(blob)
      sealedUnits[i] = length / UNIT_BYTES + 1
      from += length
      at += blob.length
    }
    const transform = units === undefined ? TRANSFORM.cipher : TRANSFORM.lz4 | TRANSFORM.cipher
    const data: Blobs = { bytes: this.#memory.keep(lengthBytes), crcs, stored: { transform, units: sealedUnits } }
    return { bytes: lengthBytes, data }
  }

  #seal(place: Place, view: DataView, lba: number): void {
    if (this.#writing === undefined || this.#counter === this.#sessionBlocksMax) this.#begin()
    const { blob, blobAt: at } = place
    const counter = ++this.#counter
    blob.set(this.#header, at)
    view.setUint32(at + AT.counter, counter >>> 0, true)
    view.setUint32(at + AT.counter + 4, Math.floor(counter / 2 ** 32), true)
    this.#run(this.#writing!.context, place, lba, true)
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
    const lengthBytes = blob.length - HEADER_BYTES
    if (context === undefined || into.length < lengthBytes) return false
    return this.#run(context, { blob, blobAt: 0, plain: into, plainAt: 0, lengthBytes }, lba, false)
  }

  refused(lba: number): void {
    this.#onRefused(lba)
  }

  /** Under the counter in its header. False: the tag there does not fit. */
  #run(context: SessionContext, place: Place, lba: number, isSealing: boolean): boolean {
    const { blob, blobAt, plain, plainAt, lengthBytes } = place
    const lbaHigh = Math.floor(lba / 2 ** 32)
    const lbaLow = lba - lbaHigh * 2 ** 32
    const counterLow = wordAt(blob, blobAt + AT.counter)
    const counterHigh = wordAt(blob, blobAt + AT.counter + 4)
    const dataAt = blobAt + HEADER_BYTES
    const [from, fromAt, into, intoAt] = isSealing ? [plain, plainAt, blob, dataAt] : [blob, dataAt, plain, plainAt]
    if (context.cipher === 'aes-256-xts') {
      setIv(lbaLow, lbaHigh, counterLow, counterHigh)
      context.xts.run(from, into, { lengthBytes, fromAt, intoAt })
      return true
    }
    this.#aad.set(blob.subarray(blobAt, blobAt + COVERED_BYTES))
    this.#aadView.setUint32(COVERED_BYTES, lbaLow, true)
    this.#aadView.setUint32(COVERED_BYTES + 4, lbaHigh, true)
    setIv(counterLow, counterHigh, 0, 0)
    const tag = blob.subarray(blobAt + AT.tag, blobAt + AT.tag + TAG_BYTES)
    return context.gcm.run(this.#aad, from, into, tag, { lengthBytes, fromAt, intoAt })
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
