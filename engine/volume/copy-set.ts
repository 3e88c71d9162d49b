/** The copies of replicated volumes that a store has, opened from what their disks agreed on, or made empty. */
import type { StoreStream } from '../log/store-stream.ts'
import type { ClockPort, Crc32c, LogPort } from '../ports.ts'
import type { Task } from '../task.ts'
import { SLICE_BYTES } from '../units.ts'
import { newCopyPart, type CopyDescriptor } from './copy-part.ts'
import type { SettledCopy } from './copy-recovery.ts'
import { LocalCopyStore, type OpenCopy } from './copy-store.ts'
import { placeSlices } from './placement.ts'
import { failure, type Reply } from './store-api.ts'
import type { StoreDisks } from './store-disks.ts'
import type { VolumeSpec } from './volume-spec.ts'

export interface CopySetOptions {
  clock: ClockPort
  crc32c: Crc32c
  log: LogPort
  disks: StoreDisks
  placementDisks(spec: VolumeSpec): ReturnType<StoreDisks['placementDisks']>
}

export class CopySet {
  /** By volume id, with what each found when it was opened. */
  readonly byId = new Map<string, OpenCopy>()
  private readonly o: CopySetOptions

  constructor(options: CopySetOptions) {
    this.o = options
  }

  /** Copies are opened from what their disks agreed on; one of which something cannot be read is left out. */
  *openTask(settled: SettledCopy[]): Task<void> {
    for (const one of settled) {
      const { id, name } = one.descriptor.spec
      // A disk that could not finish its recovery has nothing to say any more.
      if (one.targets.some(({ stream }) => !this.o.disks.entries.some((entry) => entry.stream === stream))) continue
      const copy = this.make(one)
      const stored = yield* copy.openTask()
      if (stored !== undefined) this.byId.set(id, { copy, stored })
      else
        this.o.log.event('error', 'a copy cannot be served: what it accepted cannot be read', {
          volume: name,
          reason: copy.failedReason,
        })
    }
  }

  /**
   * A copy of a replicated volume, empty; durable on all its disks before the answer. One that is there already (a
   * request that is repeated) is answered as it is.
   */
  create(spec: VolumeSpec, copyId: string, reply: Reply<OpenCopy>): void {
    const existing = this.byId.get(spec.id)
    if (existing !== undefined) return reply({ ok: true, value: existing })
    const usable = this.o.placementDisks(spec)
    if (usable.length === 0)
      return reply(failure('pool-not-found', { pool: spec.pool, tags: spec.diskTags.join('+') || '(any)' }))
    const disks = usable.map((one) => one.disk)
    const slices = placeSlices([], disks, { first: 0, count: Math.ceil(spec.sizeBytes / SLICE_BYTES), generation: 1 })
    const descriptor: CopyDescriptor = {
      format: 1,
      revision: 0,
      spec,
      epoch: 0,
      epochs: [],
      slices,
      snapshots: [],
      rollbacks: [],
      origin: null,
      deleted: false,
      seq: 0,
      copy: newCopyPart(copyId),
    }
    const targets = slices.map(([diskUuid]) => {
      const { stream } = usable.find((one) => one.disk.diskUuid === diskUuid)!.entry
      return { stream, map: stream.addVolume(descriptor) }
    })
    const copy = this.make({ descriptor, targets, tail: 0, unapplied: [] })
    copy.create((ok) => {
      if (!ok) return reply(failure('disk-failed', { disk: spec.name, reason: 'the copy could not be recorded' }))
      const one = { copy, stored: copy.stored() }
      this.byId.set(spec.id, one)
      reply({ ok: true, value: one })
    })
  }

  private make(settled: SettledCopy): LocalCopyStore {
    const { crc32c, clock, disks } = this.o
    return new LocalCopyStore({ settled, crc32c, clock, onWork: (shortOf) => disks.kick(shortOf) })
  }

  retryHeld(): void {
    for (const { copy } of this.byId.values()) if (copy.heldRecords > 0) copy.retryHeld()
  }

  streamFailed(stream: StoreStream, reason: string): void {
    for (const { copy } of this.byId.values()) copy.streamFailed(stream, reason)
  }

  /** The other streams of the copies that lie on this one. */
  *peersOf(stream: StoreStream): Generator<StoreStream> {
    for (const { copy } of this.byId.values())
      if (copy.targets.some((target) => target.stream === stream))
        for (const target of copy.targets) yield target.stream
  }
}
