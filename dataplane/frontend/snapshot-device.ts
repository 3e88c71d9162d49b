/**
 * A snapshot as one client connection sees it: the `BlockDevice` that NBD serves, over its reader. Nothing is written,
 * what is allocated is asked of the primary, and there is nothing to flush.
 */
import { assert } from '../../engine/assert.ts'
import { NBD_ERRNO } from '../../engine/errors.ts'
import { SNAPSHOT_RUN_KIND } from '../../engine/replication/messages.ts'
import type { OpenedSnapshot } from '../../engine/replication/messages.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { BlockDevice, Done, Extent } from '../../engine/volume/block-device.ts'
import { fillFrom } from './block-bytes.ts'
import { ERRNO_OF } from './snapshot-readers.ts'
import type { HostedReader } from './snapshot-readers.ts'

export class SnapshotDevice implements BlockDevice {
  readonly readOnly = true
  readonly knowsZeroesOnlyByAsking = true
  readonly sizeBytes: number
  readonly blockSizeBytes: number
  readonly description: string
  readonly #reader: HostedReader
  readonly #close: () => void

  /** @param close  the connection is gone */
  constructor(reader: HostedReader, close: () => void) {
    const snapshot: OpenedSnapshot | undefined = reader.snapshot
    assert(snapshot !== undefined, 'a client is served when its snapshot is open')
    this.#reader = reader
    this.#close = close
    this.sizeBytes = snapshot.sizeBytes
    this.blockSizeBytes = reader.facts.blockSizeBytes
    this.description = reader.facts.description
  }

  read(offsetBytes: number, into: Uint8Array, done: Done): void {
    const range = this.#blocksOf(offsetBytes, into.length)
    this.#reader.ask({ type: 'read', ...range }, (answer) => {
      if (!answer.ok) return done(ERRNO_OF[answer.code])
      assert(answer.type === 'read', 'a read is answered with blocks')
      done(fillFrom(answer.versions, offsetBytes, into) ? NBD_ERRNO.NONE : ERRNO_OF.damaged)
    })
  }

  write(_offsetBytes: number, _data: Uint8Array, _fua: boolean, done: Done): void {
    done(NBD_ERRNO.EPERM)
  }

  trim(_offsetBytes: number, _lengthBytes: number, _fua: boolean, done: Done): void {
    done(NBD_ERRNO.EPERM)
  }

  writeZeroes(
    _offsetBytes: number,
    _lengthBytes: number,
    _options: { noHole: boolean; fua: boolean },
    done: Done,
  ): void {
    done(NBD_ERRNO.EPERM)
  }

  flush(done: Done): void {
    done(NBD_ERRNO.NONE)
  }

  blockStatus(
    offsetBytes: number,
    lengthBytes: number,
    extentsMax: number,
    done: (errno: number, extents: Extent[]) => void,
  ): void {
    this.#reader.ask({ type: 'map', ...this.#blocksOf(offsetBytes, lengthBytes) }, (answer) => {
      if (!answer.ok) return done(ERRNO_OF[answer.code], [])
      assert(answer.type === 'map', 'a map is answered with runs')
      done(NBD_ERRNO.NONE, extentsOf(answer, { offsetBytes, lengthBytes, extentsMax }))
    })
  }

  disconnected(): void {
    this.#close()
  }

  #blocksOf(offsetBytes: number, lengthBytes: number): { lba: number; blockCount: number } {
    assert(lengthBytes > 0 && offsetBytes + lengthBytes <= this.sizeBytes, 'ranges were checked before')
    const lba = Math.floor(offsetBytes / BLOCK_BYTES)
    return { lba, blockCount: Math.ceil((offsetBytes + lengthBytes) / BLOCK_BYTES) - lba }
  }
}

/**
 * Runs of blocks as extents of bytes: what lies between them is a hole. They begin at `offsetBytes` and end where the
 * map does, or at the end of what was asked.
 */
export function extentsOf(
  { runs, endLba }: { runs: readonly number[]; endLba: number },
  { offsetBytes, lengthBytes, extentsMax }: { offsetBytes: number; lengthBytes: number; extentsMax: number },
): Extent[] {
  const end = Math.min(offsetBytes + lengthBytes, endLba * BLOCK_BYTES)
  const extents: Extent[] = []
  let at = offsetBytes
  const put = (toBytes: number, hole: boolean, zero: boolean): void => {
    const to = Math.min(toBytes, end)
    if (to <= at || extents.length === extentsMax) return
    extents.push({ lengthBytes: to - at, hole, zero })
    at = to
  }
  for (let i = 0; i < runs.length && extents.length < extentsMax; i += 3) {
    const kind = runs[i + 2]!
    if (kind === SNAPSHOT_RUN_KIND.hole) continue
    put(runs[i]! * BLOCK_BYTES, true, true)
    put((runs[i]! + runs[i + 1]!) * BLOCK_BYTES, false, kind === SNAPSHOT_RUN_KIND.zero)
  }
  put(end, true, true)
  return extents
}
