/**
 * The client's side of an NBD handshake (fixed newstyle, NBD_OPT_GO, doc/proto.md), on a unix socket that then goes to
 * the kernel: simple replies, which is all that its client knows. The server says nothing behind the last reply before
 * it is asked, so no byte is read that the kernel would miss.
 *
 * The connection is made by Node, and its descriptor doubled; ours is then closed, never shut down.
 */
import net from 'node:net'
import koffi from 'koffi'
import { outcome } from '../../cluster/libc.ts'
import { HoldfastError } from '../../engine/errors.ts'

const NBDMAGIC = 0x4e42444d41474943n
const IHAVEOPT = 0x49484156454f5054n
const NBD_REP_MAGIC = 0x3e889045565a9n
const NBD_FLAG_FIXED_NEWSTYLE = 1
const NBD_FLAG_NO_ZEROES = 2
const NBD_OPT_GO = 7
const NBD_REP_ACK = 1
const NBD_REP_INFO = 3
const NBD_REP_FLAG_ERROR = 0x80000000
const NBD_INFO_EXPORT = 0
const NBD_INFO_BLOCK_SIZE = 3
export const NBD_FLAG_READ_ONLY = 2

const GREETING_BYTES = 18
const REPLY_BYTES = 20
/** Of one reply; those that are of use here have 14 at most. */
const REPLY_DATA_BYTES_MAX = 64 * 1024
const REASON_BYTES_MAX = 200
const SECTOR_BYTES = 512
const PAGE_BYTES = 4096
const F_DUPFD_CLOEXEC = 1030
const callFcntl = koffi.load(null).func('int fcntl(int fd, int command, ...)')

/** What the server says of the export. */
export interface ExportFacts {
  sizeBytes: number
  blockSizeBytes: number
  /** Transmission flags, as the kernel is told them. */
  flags: number
}

export type HandshakeStep =
  | { type: 'more' }
  | { type: 'send'; bytes: Buffer }
  | { type: 'over'; facts: ExportFacts }
  | { type: 'refused'; reason: string }

/** One connection. `feed` takes what was read, and says what to do; a step may be due without more bytes. */
export class ClientHandshake {
  #pending: Buffer = Buffer.alloc(0)
  #isGreeted = false
  #facts: ExportFacts | undefined
  #blockSizeBytes = SECTOR_BYTES

  feed(bytes: Buffer): HandshakeStep {
    this.#pending = Buffer.concat([this.#pending, bytes])
    if (!this.#isGreeted) return this.#greeting()
    for (;;) {
      const step = this.#reply()
      if (step !== undefined) return step
    }
  }

  #greeting(): HandshakeStep {
    if (this.#pending.length < GREETING_BYTES) return { type: 'more' }
    const bytes = this.#pending
    if (bytes.readBigUInt64BE(0) !== NBDMAGIC || bytes.readBigUInt64BE(8) !== IHAVEOPT) {
      return { type: 'refused', reason: 'it does not speak NBD' }
    }
    const flags = bytes.readUInt16BE(16)
    if ((flags & NBD_FLAG_FIXED_NEWSTYLE) === 0) return { type: 'refused', reason: 'it speaks an old NBD' }
    this.#pending = bytes.subarray(GREETING_BYTES)
    this.#isGreeted = true
    // The default export, and how large its blocks are.
    const option = Buffer.alloc(4 + 16 + 8)
    option.writeUInt32BE(flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES), 0)
    option.writeBigUInt64BE(IHAVEOPT, 4)
    option.writeUInt32BE(NBD_OPT_GO, 12)
    option.writeUInt32BE(8, 16)
    option.writeUInt16BE(1, 24)
    option.writeUInt16BE(NBD_INFO_BLOCK_SIZE, 26)
    return { type: 'send', bytes: option }
  }

  /** Undefined: one was read, and there may be another. */
  #reply(): HandshakeStep | undefined {
    if (this.#pending.length < REPLY_BYTES) return { type: 'more' }
    const [type, length] = [this.#pending.readUInt32BE(12), this.#pending.readUInt32BE(16)]
    if (this.#pending.readBigUInt64BE(0) !== NBD_REP_MAGIC || length > REPLY_DATA_BYTES_MAX) {
      return { type: 'refused', reason: 'its answer is none of NBD' }
    }
    if (this.#pending.length < REPLY_BYTES + length) return { type: 'more' }
    const data = this.#pending.subarray(REPLY_BYTES, REPLY_BYTES + length)
    this.#pending = this.#pending.subarray(REPLY_BYTES + length)
    if (type >= NBD_REP_FLAG_ERROR) return { type: 'refused', reason: shown(data) || `error ${type}` }
    if (type === NBD_REP_ACK) {
      if (this.#facts === undefined) return { type: 'refused', reason: 'it did not say how large the export is' }
      if (!Number.isSafeInteger(this.#facts.sizeBytes)) return { type: 'refused', reason: 'its export is too large' }
      return { type: 'over', facts: { ...this.#facts, blockSizeBytes: this.#blockSizeBytes } }
    }
    if (type === NBD_REP_INFO) this.#info(data)
    return undefined
  }

  #info(data: Buffer): void {
    const kind = data.length >= 2 ? data.readUInt16BE(0) : -1
    if (kind === NBD_INFO_EXPORT && data.length === 12) {
      this.#facts = { sizeBytes: Number(data.readBigUInt64BE(2)), flags: data.readUInt16BE(10), blockSizeBytes: 0 }
    } else if (kind === NBD_INFO_BLOCK_SIZE && data.length === 14) {
      // The smallest that it takes is a byte; the kernel asks in sectors of what it prefers.
      this.#blockSizeBytes = Math.min(Math.max(data.readUInt32BE(6), SECTOR_BYTES), PAGE_BYTES)
    }
  }
}

/** One line, and not long, of what a server says. */
const shown = (data: Buffer): string =>
  data.toString('latin1', 0, REASON_BYTES_MAX).replace(/[^\x20-\x7e]+/g, ' ').trim()

export interface Dialled {
  /** The caller's. */
  fd: number
  facts: ExportFacts
}

/** @throws HoldfastError `attachment-absent`: there is no such socket, or it says no; `retryable` in any case */
export function dialAttachment(socketPath: string, withinMs: number): Promise<Dialled> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(socketPath)
    const handshake = new ClientHandshake()
    const fail = (reason: string): void => {
      clearTimeout(deadline)
      socket.destroy()
      reject(new HoldfastError('attachment-absent', { path: socketPath, reason }))
    }
    const deadline = setTimeout(() => fail(`it did not answer within ${withinMs / 1000} s`), withinMs)
    socket.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message))
    socket.on('end', () => fail('it closed the connection'))
    socket.on('data', (bytes: Buffer) => {
      const step = handshake.feed(bytes)
      if (step.type === 'send') socket.write(step.bytes)
      else if (step.type === 'refused') fail(step.reason)
      else if (step.type === 'over') {
        clearTimeout(deadline)
        const handle = (socket as unknown as { _handle: { fd: number; reading: boolean; readStop(): number } })._handle
        handle.reading = false
        handle.readStop()
        const fd = outcome(callFcntl(handle.fd, F_DUPFD_CLOEXEC, 'int', 0))
        socket.removeAllListeners('end').destroy()
        if (fd < 0) return fail('out of descriptors')
        resolve({ fd, facts: step.facts })
      }
    })
  })
}
