/**
 * One copy's store over the simulated disks, index and clock of `StoreWorld`, for tests that play its machine: short
 * words for its calls, and their events waited for.
 */
import { crc32c } from '@node-rs/crc32'
import { openCopy } from '../../engine/volume/copy-opening.ts'
import type { LocalCopyStore } from '../../engine/volume/copy-store.ts'
import type { CopyFacts, MarkPlace, StoredCopy, StoreEvent } from '../../engine/replication/copy-store.ts'
import type {
  BlockVersion, ControlChange, Payload, ReplicatedRecord, VersionId,
} from '../../engine/replication/record.ts'
import { blobsOf, payloadOf } from '../../engine/volume/copy-headers.ts'
import { isLostMark } from '../../engine/volume/lost-mark.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { stamped, stampOf, StoreWorld, type WorldOptions } from './store-world.ts'
import { blocksOf, mixedPayload } from './stored-forms.ts'

export type StampedVersion = BlockVersion & { stamp: number }

export class CopyWorld {
  readonly world: StoreWorld
  copy!: LocalCopyStore
  storedSeq = 0
  durableSeq = 0
  failedReason = ''
  private events: StoreEvent[] = []
  private token = 1
  private readonly spec: Partial<VolumeSpec>

  constructor(options: WorldOptions, spec: Partial<VolumeSpec> = {}, world = new StoreWorld(options)) {
    this.world = world
    this.spec = spec
  }

  open(): StoredCopy {
    let stored: StoredCopy | undefined
    let reason = ''
    openCopy(
      {
        clock: this.world.clock,
        crc32c,
        log: { event: (level, message, fields) => void this.world.events.push({ level, message, fields }) },
        disks: this.world.contexts(),
        spec: this.world.spec('vol', 1 << 20, this.spec),
        copyId: 'c1',
        onEvent: (event) => this.take(event),
      },
      (outcome) => {
        this.world.store = outcome.store
        if (!outcome.ok) {
          reason = outcome.reason
          return
        }
        this.copy = outcome.copy
        stored = outcome.stored
      },
    )
    this.world.clock.runUntil(() => stored !== undefined || reason !== '')
    if (stored === undefined) throw new Error(reason)
    this.storedSeq = stored.tail
    return stored
  }

  /** A new one, with stamps 102 to 111 in blocks 2 to 11 and snapshot `s` of them at seq 12, everything applied. */
  openWithSnapshot(): void {
    this.open()
    this.epoch(1, 1)
    for (let seq = 2; seq <= 11; seq++) this.append(write(1, seq, seq, [100 + seq]))
    this.control(1, 12, { operation: 'snapshot', id: 's' })
    this.settle()
    this.copy.apply(12, {})
  }

  /** Another copy that the store made. */
  use(copy: LocalCopyStore): void {
    this.copy = copy
    this.storedSeq = copy.tail
    copy.onEvent = (event) => this.take(event)
  }

  crash(...how: Parameters<StoreWorld['crash']>): CopyWorld {
    return new CopyWorld(this.world.options, this.spec, this.world.crash(...how))
  }

  append(record: ReplicatedRecord): void {
    this.copy.append(record)
  }

  /** An epoch record behind the histories that the copy has. */
  epoch(epoch: number, seq: number): void {
    const known = this.copy.stored().epochs.filter(([, firstSeq]) => firstSeq < seq)
    this.control(epoch, seq, { operation: 'epoch', epochs: [...known, [epoch, seq]] })
  }

  control(epoch: number, seq: number, change: ControlChange): void {
    this.copy.append({ kind: 'control', epoch, seq, request: undefined, change })
  }

  /** Until everything accepted is stored. */
  settle(): void {
    this.world.clock.runUntil(() => this.storedSeq === this.copy.tail || this.failedReason !== '')
  }

  /** Until nothing of the copy is on its way to a disk. */
  drained(): void {
    let isDrained = false
    this.copy.drained(() => (isDrained = true))
    this.world.clock.runUntil(() => isDrained)
  }

  keep(facts: Partial<CopyFacts>): boolean {
    return this.answered((token) => this.copy.keep(token, facts)).type === 'kept'
  }

  fill(versions: BlockVersion[]): void {
    this.answered((token) => this.copy.fill(token, versions))
  }

  /** @param also  what is said while it begins */
  startFill(start: Omit<Parameters<LocalCopyStore['startFill']>[1], 'facts'>, also = (): void => {}): void {
    const slices = start.wipe.map((slice): [number, number] => [slice, 0])
    const facts: Partial<CopyFacts> = { consistency: { state: 'filling', target: start.target, slices } }
    this.answered((token) => {
      this.copy.startFill(token, { ...start, facts })
      also()
    })
  }

  read(lba: number, blockCount: number): BlockVersion[] {
    const event = this.answered((token) => this.copy.read(token, lba, blockCount))
    if (event.type !== 'read-ended' || !event.ok) throw new Error('cannot be read')
    return event.versions
  }

  readStamps(lba: number, blockCount: number): number[] {
    return this.read(lba, blockCount).map(stampOfVersion)
  }

  /** Begins something of which the end is asked for with `answerTo`. */
  begin(ask: (token: number) => void): number {
    ask(this.token)
    return this.token++
  }

  answerTo(token: number): StoreEvent | undefined {
    const event = this.events.find((one) => 'token' in one && one.token === token)
    this.events = this.events.filter((one) => one !== event)
    return event
  }

  lookUp(lbas: number[]): number[] {
    const event = this.answered((token) => this.copy.lookUp(token, lbas))
    if (event.type !== 'looked-up' || !event.ok) throw new Error('cannot be looked up')
    return event.seqs
  }

  /** Of the head from a block on. */
  countBeyond(lba: number): { bytes: number; unsized?: string } {
    const event = this.answered((token) => this.copy.countBeyond(token, lba))
    if (event.type !== 'beyond-counted' || !event.ok) throw new Error('cannot be counted')
    return event
  }

  /** The next marks of its map. */
  findMarks(from: MarkPlace | undefined, most: number): { ids: VersionId[]; from: MarkPlace | undefined } {
    const event = this.answered((token) => this.copy.findMarks(token, { from, most }))
    if (event.type !== 'marks-found' || !event.ok) throw new Error('cannot be looked for')
    const { ids } = event
    return { ids, from: event.from }
  }

  /** What is said of exactly these versions. @param meanwhile  done while they are looked for */
  exactly(
    wanted: readonly VersionId[],
    meanwhile = (): void => {},
  ): { stamps: number[]; damaged: VersionId[]; unknown: VersionId[] } {
    const event = this.answered((token) => {
      this.copy.readVersions(token, wanted)
      meanwhile()
    })
    if (event.type !== 'versions-read') throw new Error('nothing was said of them')
    return { stamps: event.versions.map(stampOfVersion), damaged: event.damaged ?? [], unknown: event.unknown ?? [] }
  }

  /** What the index is asked for next in a range it answers when the function is called that this returns. */
  holdRange(): () => void {
    const index = this.world.indexes[0]!
    const range = index.range.bind(index)
    let answer: (() => void) | undefined
    index.range = (options, done) => {
      index.range = range
      answer = () => range(options, done)
    }
    return () => {
      if (answer === undefined) throw new Error('nothing was asked for')
      answer()
    }
  }

  repair(versions: BlockVersion[]): void {
    this.answered((token) => this.copy.repair(token, versions))
  }

  /** The whole of slice 0, in pieces. @param lost  what nobody has: of that marks are given */
  scan({ above, upTo, bytesMax = 20_000, lost = [] }: {
    above: number; upTo: number; bytesMax?: number; lost?: readonly VersionId[]
  }): StampedVersion[] {
    const found: StampedVersion[] = []
    for (let cursor: number | undefined = 0; cursor !== undefined;) {
      const from: number = cursor
      const range = { slice: 0, above, upTo, cursor: from, bytesMax, lost }
      const event = this.answered((token) => this.copy.scan(token, range))
      if (event.type !== 'scanned' || !event.ok) throw new Error('cannot be scanned')
      found.push(...event.versions.map((version) => ({ ...version, stamp: stampOfVersion(version) })))
      cursor = event.cursor
    }
    return found
  }

  private answered(ask: (token: number) => void): StoreEvent {
    const token = this.token++
    ask(token)
    const find = (): StoreEvent | undefined =>
      this.events.find((event) => 'token' in event && event.token === token) ??
      this.events.find((event) => event.type === 'store-failed')
    this.world.clock.runUntil(() => find() !== undefined)
    const event = find()!
    this.events = this.events.filter((one) => one !== event || one.type === 'store-failed')
    return event
  }

  private take(event: StoreEvent): void {
    if (event.type === 'stored') {
      this.storedSeq = event.seq
      this.durableSeq = event.durableSeq
    } else {
      this.events.push(event)
      if (event.type === 'store-failed') this.failedReason = event.reason
    }
  }
}

/** -1: it is the mark of a block that nobody has. */
const stampOfVersion = ({ payload }: BlockVersion): number => {
  if (payload === undefined) return 0
  return isLostMark(blobsOf(payload).stored?.transform ?? 0) ? -1 : stampOf(blocksOf(payload)[0]!)
}

/** A write of stamped blocks, none of them compressed. */
export const write = (epoch: number, seq: number, lba: number, stamps: number[]): ReplicatedRecord =>
  writeOf(epoch, seq, lba, stamps, (bytes) => payloadOf(crc32c as never, bytes))

/** The same, some of them compressed. */
export const mixedWrite = (epoch: number, seq: number, lba: number, stamps: number[]): ReplicatedRecord =>
  writeOf(epoch, seq, lba, stamps, (bytes) => mixedPayload(bytes, stamps))

function writeOf(
  epoch: number,
  seq: number,
  lba: number,
  stamps: number[],
  payload: (bytes: Uint8Array) => Payload,
): ReplicatedRecord {
  const bytes = new Uint8Array(stamps.length * 4096)
  stamps.forEach((stamp, i) => bytes.set(stamped(stamp), i * 4096))
  const blockCount = stamps.length
  return { kind: 'write', epoch, seq, request: undefined, lba, blockCount, payload: payload(bytes) }
}
