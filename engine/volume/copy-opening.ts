/**
 * One copy over a few disks of its own: opened, or made when the disks do not have it. For whoever runs one copy and
 * nothing else, such as a simulation; a worker has its copies from its store (`Store.copies`, `Store.createCopy`).
 */
import type { ClockPort, Crc32c, LogPort } from '../ports.ts'
import type { StoredCopy, StoreEvent } from '../replication/copy-store.ts'
import type { LocalCopyStore, OpenCopy } from './copy-store.ts'
import { Store } from './store.ts'
import type { StoreDisk } from './store-disks.ts'
import type { VolumeSpec } from './volume-spec.ts'

export interface CopyOpening {
  clock: ClockPort
  crc32c: Crc32c
  log: LogPort
  disks: StoreDisk[]
  spec: VolumeSpec
  /** Of a copy that is made when it is not there; undefined: none is. */
  copyId: string | undefined
  onEvent(event: StoreEvent): void
}

export type CopyOutcome =
  { ok: true; store: Store; copy: LocalCopyStore; stored: StoredCopy } | { ok: false; store: Store; reason: string }

/** Events come only after `done`. */
export function openCopy(opening: CopyOpening, done: (outcome: CopyOutcome) => void): void {
  const { clock, crc32c, log, disks, spec, copyId, onEvent } = opening
  Store.open({ clock, crc32c, log, newVolumeStream: 0, recovered: (go) => go() }, disks, (store) => {
    const take = (one: OpenCopy): void => {
      one.copy.onEvent = onEvent
      done({ ok: true, store, ...one })
    }
    const found = store.copies().get(spec.id)
    if (found !== undefined) return take(found)
    // A disk that cannot be read may hold it: another one in its place would have forgotten what it promised.
    const refused = store.disks().find(({ state }) => state === 'failed')
    const lost = store.streams().find(({ volumesById }) => {
      const map = volumesById.get(spec.id)
      return map !== undefined && map.descriptor.copy?.isRemoved !== true
    })
    if (refused !== undefined || lost !== undefined)
      return done({ ok: false, store, reason: refused?.reason ?? 'what the copy accepted cannot be read' })
    if (copyId === undefined) return done({ ok: false, store, reason: 'the copy is not there' })
    store.createCopy(spec, copyId, (result) => {
      if (result.ok) take(result.value)
      else done({ ok: false, store, reason: result.error.message })
    })
  })
}
