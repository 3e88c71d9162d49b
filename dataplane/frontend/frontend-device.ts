/**
 * A volume as one client connection sees it: the `BlockDevice` that NBD serves, over the frontend of its attachment.
 *
 * What is allocated is known to the primary only, so block status says that everything holds data, which is always
 * allowed; advice to read ahead is taken and not followed.
 */
import { assert } from '../../engine/assert.ts'
import { NBD_ERRNO } from '../../engine/errors.ts'
import type { BlockDevice, Done, Extent } from '../../engine/volume/block-device.ts'
import type { HostedFrontend } from './hosted-frontend.ts'

export class FrontendDevice implements BlockDevice {
  readonly keepsPayload = true
  readonly #frontend: HostedFrontend
  readonly #connection: number
  #isDisconnected = false

  constructor(frontend: HostedFrontend) {
    this.#frontend = frontend
    this.#connection = frontend.connect()
  }

  get sizeBytes(): number {
    return this.#frontend.sizeBytes
  }

  get blockSizeBytes(): number {
    return this.#frontend.facts.blockSizeBytes
  }

  get readOnly(): boolean {
    return this.#frontend.state.options.mode === 'read'
  }

  /** Of the attachment. */
  get generation(): number {
    return this.#frontend.generation
  }

  get description(): string {
    return this.#frontend.facts.description
  }

  read(offsetBytes: number, into: Uint8Array, done: Done): void {
    const operation = { type: 'read' as const, offsetBytes, lengthBytes: into.length }
    this.#checkLength(into.length)
    this.#frontend.request(this.#connection, operation, done, into)
  }

  write(offsetBytes: number, data: Uint8Array, fua: boolean, done: Done): void {
    const operation = { type: 'write' as const, offsetBytes, lengthBytes: data.length, data, fua }
    this.#checkLength(data.length)
    this.#frontend.request(this.#connection, operation, done)
  }

  flush(done: Done): void {
    this.#frontend.request(this.#connection, { type: 'flush' }, done)
  }

  trim(offsetBytes: number, lengthBytes: number, fua: boolean, done: Done): void {
    this.#checkLength(lengthBytes)
    this.#frontend.request(this.#connection, { type: 'trim', offsetBytes, lengthBytes, fua }, done)
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, { fua }: { noHole: boolean; fua: boolean }, done: Done): void {
    this.#checkLength(lengthBytes)
    this.#frontend.request(this.#connection, { type: 'zero', offsetBytes, lengthBytes, fua }, done)
  }

  blockStatus(
    _offsetBytes: number,
    lengthBytes: number,
    _extentsMax: number,
    done: (errno: number, extents: Extent[]) => void,
  ): void {
    done(NBD_ERRNO.NONE, [{ lengthBytes, hole: false, zero: false }])
  }

  disconnected(): void {
    if (this.#isDisconnected) return
    this.#isDisconnected = true
    this.#frontend.disconnect(this.#connection)
  }

  /** The end was looked at when the request began to come; a volume that shrank since is the frontend's to refuse. */
  #checkLength(lengthBytes: number): void {
    assert(lengthBytes > 0, 'nothing was asked for')
  }
}
