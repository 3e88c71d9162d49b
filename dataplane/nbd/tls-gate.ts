/**
 * What is said before TLS on a port where TLS is forced, as a pure machine: flags, then STARTTLS or ABORT; any other
 * option is answered TLS_REQD, and no option learns of an export.
 *
 *   flags --client flags--> options --STARTTLS--> start-tls          (only if nothing was sent behind it)
 *                           options --ABORT, EXPORT_NAME--> closed
 *                           options --any other--> options           (NBD_REP_ERR_TLS_REQD)
 *
 * Invariant: no byte from before the handshake is taken for one from behind it (CVE-2021-3716). A client waits for the
 * answer to STARTTLS before it goes on, so whoever does not is ended.
 *
 * Source: doc/proto.md "TLS support", "FORCEDTLS mode"
 */
import { assert } from '../../engine/assert.ts'
import { OPTION_SKIP_BYTES_MAX } from './handshake.ts'
import { encodeOptionReply } from './option-data.ts'
import {
  IHAVEOPT, NBD_FLAG_C_FIXED_NEWSTYLE, NBD_FLAG_C_NO_ZEROES, NBD_OPT_ABORT, NBD_OPT_EXPORT_NAME, NBD_OPT_STARTTLS,
  NBD_REP_ACK, NBD_REP_ERR_INVALID, NBD_REP_ERR_TLS_REQD, OPTION_BYTES,
} from './protocol.ts'

/** There is nothing to be had here but TLS. */
const OPTIONS_MAX = 64

export type GateEvent = { type: 'start-tls'; noZeroes: boolean } | { type: 'closed'; reason: string }

export interface GateStep {
  send: Buffer[]
  /** It is over; nothing may be fed any more. */
  event: GateEvent | undefined
}

export class TlsGate {
  #state: 'flags' | 'option' | 'skip' | 'over' = 'flags'
  #pending: Buffer = Buffer.alloc(0)
  #send: Buffer[] = []
  #event: GateEvent | undefined
  #option = 0
  #dataBytes = 0
  #leftBytes = 0
  #options = 0
  #noZeroes = false

  feed(bytes: Uint8Array): GateStep {
    assert(this.#state !== 'over', 'nothing is fed after the end')
    this.#pending = this.#pending.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#pending, bytes])
    this.#send = []
    while (this.#event === undefined && this.#advance()) { /* one message at a time */ }
    return { send: this.#send, event: this.#event }
  }

  /** @returns false when more bytes are needed */
  #advance(): boolean {
    if (this.#state === 'skip') return this.#skip()
    const bytes = this.#take(this.#state === 'flags' ? 4 : OPTION_BYTES)
    if (bytes === undefined) return false
    return this.#state === 'flags' ? this.#flags(bytes.readUInt32BE(0)) : this.#header(bytes)
  }

  #take(count: number): Buffer | undefined {
    if (this.#pending.length < count) return undefined
    const bytes = this.#pending.subarray(0, count)
    this.#pending = this.#pending.subarray(count)
    return bytes
  }

  #flags(flags: number): boolean {
    if ((flags & ~(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)) !== 0) return this.#close('unknown client flags')
    this.#noZeroes = (flags & NBD_FLAG_C_NO_ZEROES) !== 0
    this.#state = 'option'
    return true
  }

  #header(bytes: Buffer): boolean {
    const isOption = bytes.readUInt32BE(0) === IHAVEOPT[0] && bytes.readUInt32BE(4) === IHAVEOPT[1]
    if (!isOption) return this.#close('not an option')
    if (++this.#options > OPTIONS_MAX) return this.#close('too many options before TLS')
    this.#option = bytes.readUInt32BE(8)
    this.#dataBytes = this.#leftBytes = bytes.readUInt32BE(12)
    if (this.#dataBytes > OPTION_SKIP_BYTES_MAX) return this.#close('option data too long')
    this.#state = 'skip'
    return true
  }

  /** What an option of before brings is never kept. */
  #skip(): boolean {
    const count = Math.min(this.#leftBytes, this.#pending.length)
    this.#take(count)
    this.#leftBytes -= count
    if (this.#leftBytes > 0) return false
    this.#state = 'option'
    switch (this.#option) {
      case NBD_OPT_STARTTLS: return this.#startTls()
      case NBD_OPT_EXPORT_NAME: return this.#close('EXPORT_NAME without TLS')
      case NBD_OPT_ABORT:
        this.#reply(NBD_REP_ACK)
        return this.#close('aborted by the client')
      default: return this.#reply(NBD_REP_ERR_TLS_REQD, 'this server talks over TLS only')
    }
  }

  #startTls(): boolean {
    if (this.#dataBytes > 0) return this.#reply(NBD_REP_ERR_INVALID, 'this option has no data')
    if (this.#pending.length > 0) return this.#close('something was said between STARTTLS and TLS')
    this.#reply(NBD_REP_ACK)
    this.#event = { type: 'start-tls', noZeroes: this.#noZeroes }
    this.#state = 'over'
    return true
  }

  #reply(type: number, message?: string): true {
    this.#send.push(encodeOptionReply(this.#option, type, message === undefined ? undefined : Buffer.from(message)))
    return true
  }

  #close(reason: string): true {
    this.#event = { type: 'closed', reason }
    this.#state = 'over'
    return true
  }
}
