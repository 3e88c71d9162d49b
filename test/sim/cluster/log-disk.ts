/**
 * A volume's copy in the store of the engine on a node's disks (node-store.ts): the same code and the same format as in
 * production, over a simulated disk and index that lose and tear what a crash may take.
 */
import { isCheckable } from '../../../engine/log/structure-check.ts'
import type { StoredCopy, StoreEvent } from '../../../engine/replication/copy-store.ts'
import type { OpenedSnapshot } from '../../../engine/replication/messages.ts'
import { runTask, type Task } from '../../../engine/task.ts'
import { GIB } from '../../../engine/units.ts'
import { digestSlice } from '../../../engine/volume/copy-digest.ts'
import type { SliceDigest } from '../../../engine/volume/digest-comparison.ts'
import { CopyScrub } from '../../../engine/volume/copy-scrub.ts'
import type { Pin } from '../../../engine/volume/copy-part.ts'
import type { CloneSource } from '../../../engine/volume/copy-sharing.ts'
import { WINDOW_LIMITS } from '../../../engine/volume/deep-window.ts'
import type { LocalCopyStore, OpenCopy, ReplicatedDescriptor } from '../../../engine/volume/copy-store.ts'
import type { Store } from '../../../engine/volume/store.ts'
import type { VolumeSpec } from '../../../engine/volume/volume-spec.ts'
import type { SimClock } from '../clock.ts'
import { SECTOR_BYTES } from '../disk-image.ts'
import type { Random } from '../random.ts'
import type { Damaged, Mark } from './atlas.ts'
import { blockPlace } from './block-place.ts'
import type { NodeDisk, Rotten, ScrubFound, StoreUser } from './node-disk.ts'
import type { NodeStore } from './node-store.ts'
import type { PartDisk } from './part-disk.ts'
import { storedVersions, type StoredVersion } from './stored-versions.ts'
import type { Swarm } from './swarm.ts'
import type { StampCodec } from './stamps.ts'
import { emptyVersionMap, insertVersion, visibleAt, type VersionMap } from './version-map.ts'

/** Of calls that the copy's machine does not make. */
const OWN_TOKENS = 2 ** 40
const REPAIR_TRIES = 200
const REPAIR_LOOK_MS = 100
/** Of the scrubs of a disk in turn: small ones take some windows, ranges and tables for what one has room for. */
const SCRUB_LIMITS = [
  WINDOW_LIMITS,
  { entries: 5, segments: 2, ranges: 2, pages: 2 },
  { entries: 2, segments: 1, ranges: 16, pages: 1000 },
]

export class LogDisk implements NodeDisk {
  copyId: string
  isLost = false
  wantsRestart = false
  private wasOpened = false
  private readonly clock: SimClock
  private readonly random: Random
  private readonly swarm: Swarm
  readonly node: NodeStore
  private spec: VolumeSpec
  private user: StoreUser | undefined
  private copy: LocalCopyStore | undefined
  private asked: ((event: StoreEvent) => void) | undefined
  private factor = 1
  private readErrorChance = 0
  /** Since it was opened. */
  private readsFailed = false
  /** Something of it was damaged, or reads fail: it need not open. */
  private mayRefuse = false
  /** Damage was undone since it began to open. */
  private wasUndone = false
  private opens = 0
  /** That began. */
  private scrubs = 0
  /** A scrub of it is under way. */
  private scrubbed: LocalCopyStore | undefined
  /** What it shows is being read. */
  private looked: LocalCopyStore | undefined
  /** Where a copy is being made of that of an origin. */
  private cloning: Store | undefined
  /** It was ordered to go, and may be gone. */
  private mayBeGone = false

  /** @param copyId  made when it is opened first; empty: none is, until it is ordered */
  constructor(copyId: string, volume: string, node: NodeStore, clock: SimClock, swarm: Swarm) {
    this.copyId = copyId
    this.node = node
    this.clock = clock
    this.random = node.random
    this.swarm = swarm
    this.spec = {
      id: (volume === 'v' ? 'abcd' : `abcd${volume.charCodeAt(0).toString(16)}`).padStart(32, '0'),
      name: volume,
      sizeBytes: swarm.slices * GIB,
      blockSizeBytes: 4096,
      replicas: 2,
      durability: swarm.mode,
      onFull: 'hold',
      ioTimeoutMs: 0,
      pool: 'default',
      diskTags: [],
    }
  }

  get volumeId(): string {
    return this.spec.id
  }

  get sizeBytes(): number {
    return this.spec.sizeBytes
  }

  /** Of a volume that is not there yet. */
  resize(sizeBytes: number): void {
    this.spec = { ...this.spec, sizeBytes }
  }

  private get parts(): PartDisk[] {
    return this.node.parts
  }

  get hasFailed(): boolean {
    return this.node.hasFailed
  }

  open(user: StoreUser, boot: number): void {
    this.user = user
    this.wantsRestart = this.wasUndone = false
    this.readsFailed = this.readErrorChance > 0
    this.node.open(user, boot, (store) =>
      this.find(store, (found) => {
        if (user.isOver) return
        if (this.wasUndone) {
          // It may have read what was damaged then.
          this.kill()
          return this.open(user, boot)
        }
        if (found === undefined) {
          this.copyId = ''
          return user.hasNone()
        }
        if (typeof found === 'string') {
          if (!this.hasFailed && !this.mayRefuse) throw new Error(`the copy does not open: ${found}`)
          // What could not be read may be whole; what was read and does not fit is not.
          if (!this.hasFailed && !this.readsFailed) this.isLost = true
          if (this.readsFailed && this.readErrorChance === 0) this.wantsRestart = true
          return user.heard({ type: 'store-failed', reason: found })
        }
        this.take(found, user)
        this.wasOpened = true
        if (this.node.isFull) this.fillUp(true)
        user.opened(found.copy, found.stored)
        this.opens++
      }),
    )
  }

  /** The copy that the store has, or made; why there is none that can be opened; undefined: none is wanted. */
  private find(store: Store, done: (found: OpenCopy | string | undefined) => void): void {
    const { spec } = this
    const found = store.copies().get(spec.id)
    if (found !== undefined) return done(found)
    if (this.cloning === store) return done(undefined)
    // A disk that cannot be read may hold it: another one in its place would have forgotten what it promised.
    const refused = store.disks().find(({ state }) => state === 'failed')
    const lost = store.streams().find(({ volumesById }) => {
      const map = volumesById.get(spec.id)
      return map !== undefined && map.descriptor.copy?.isRemoved !== true
    })
    if (refused !== undefined || lost !== undefined)
      return done(refused?.reason ?? 'what the copy accepted cannot be read')
    // Once it was there it is not made again: another one would have forgotten what it promised.
    const isMade = this.wasOpened || (this.swarm.isErasing && this.copyId === '')
    if (this.wasOpened && this.swarm.isErasing && this.copyId !== '' && !this.mayBeGone && !this.hasFailed)
      throw new Error(`the copy ${this.copyId} is not there any more`)
    if (isMade) return done(this.swarm.isErasing ? undefined : 'the copy is not there')
    store.createCopy(spec, this.copyId, (result) => done(result.ok ? result.value : result.error.message))
  }

  /** @param user  none yet: its volume is being made */
  private take({ copy, stored }: OpenCopy, user?: StoreUser): void {
    this.copy = copy
    this.copyId = stored.copyId
    this.mayBeGone = false
    copy.onEvent = (event) => {
      if ('token' in event && event.token >= OWN_TOKENS) this.asked?.(event)
      else if (user?.isOver === false) user.heard(event)
    }
  }

  /** A copy of a clone, from that of its origin here; one that is there counts as made. Never, when it is refused. */
  cloneFrom(source: CloneSource, copyId: string, done: () => void): void {
    const { store } = this.node
    if (store === undefined || this.cloning === store) return
    this.cloning = store
    store.cloneCopy(this.spec, copyId, source, (result) => {
      if (this.cloning === store) this.cloning = undefined
      if (this.node.store !== store || !result.ok) return
      this.wasOpened = true
      const { user } = this
      if (user === undefined) this.take(result.value)
      else if (!user.isOver && this.copy === undefined) {
        // Its volume is there already.
        this.take(result.value, user)
        user.opened(result.value.copy, result.value.stored)
        this.opens++
      }
      done()
    })
  }

  /** The store has a copy of the volume. */
  get isThere(): boolean {
    return this.cloning === this.node.store || this.node.store?.copies().has(this.spec.id) !== false
  }

  /** What it shows as of a seq, by block; undefined: that cannot be read. Never, while it is looked at. */
  image(seq: number, { stampOf }: StampCodec, done: (image: Map<number, number> | undefined) => void): void {
    if (this.looked === this.copy) return
    this.looked = this.copy
    this.content((held) => {
      this.looked = undefined
      if (held === undefined) return done(undefined)
      done(new Map([...held.blocks.keys()].map((lba) => [lba, stampOf(visibleAt(held, lba, seq))])))
    })
  }

  snapshot(id: string): OpenedSnapshot | undefined {
    return this.copy?.snapshot(id)
  }

  hydrate(): void {
    if (this.isSharing) this.copy!.hydrate()
  }

  get isSharing(): boolean {
    return this.copy !== undefined && this.copy.bodies.now.origin !== null
  }

  get isPinned(): boolean {
    return this.copy !== undefined && this.copy.bodies.pins.length > 0
  }

  make(copyId: string): void {
    const { user } = this
    const { store } = this.node
    if (user === undefined || store === undefined || this.copy !== undefined) return
    this.wasOpened = true
    store.createCopy(this.spec, copyId, (result) => {
      if (user.isOver || !result.ok || this.copy !== undefined) return
      this.take(result.value, user)
      user.opened(result.value.copy, result.value.stored)
      this.opens++
    })
  }

  erase(): void {
    const { user } = this
    const { store } = this.node
    if (user === undefined || store === undefined) return
    this.copy = undefined
    this.mayBeGone = true
    store.removeCopy(this.spec.id, ({ ok }) => {
      if (user.isOver || !ok) return
      this.copyId = ''
      user.hasNone()
    })
  }

  settled(done: (stored: StoredCopy) => void): void {
    const { copy, user } = this
    copy?.drained(() =>
      copy.bodies.syncAll((ok) => {
        if (ok && user?.isOver === false && this.copy === copy && copy.failedReason === '') done(copy.stored())
      }),
    )
  }

  remains(): string | undefined {
    const { store } = this.node
    const { id } = this.spec
    if (store === undefined) return undefined
    if (store.copies().has(id)) return 'its copy is there'
    for (const { volumesById, context } of store.streams()) {
      const map = volumesById.get(id)
      if (map === undefined) continue
      if (map.descriptor.copy?.isRemoved !== true) return `disk ${context.diskUuid} has a copy that is not removed`
      // What clones show of it stays, for as long as they do.
      const isRead = ([cloneId]: Pin): boolean => volumesById.get(cloneId)?.descriptor.origin?.[0] === id
      if (map.descriptor.copy.pins?.some(isRead) === true) continue
      if (map.usedUnits > 0) return `disk ${context.diskUuid} still holds ${map.usedUnits} units of it`
    }
    return undefined
  }

  get mayLackSlices(): boolean {
    if (this.user === undefined || !this.readsFailed) return false
    return this.copy === undefined || this.copy.stored().lostSlices.length > 0
  }

  reopen(): void {
    if (!this.mayLackSlices) return
    if (this.copy === undefined) this.wasUndone = true
    else this.wantsRestart = true
  }

  worked(): void {}

  kill(): void {
    this.end()
    this.node.kill()
  }

  losePower(lies: boolean): void {
    this.end()
    this.node.losePower(lies)
  }

  fail(): void {
    this.node.hasFailed = true
    const { disk } = this.random.pick(this.parts)
    disk.failAt('sync')
    disk.failAt('write')
  }

  failNext(what: 'write' | 'sync'): void {
    this.node.hasFailed = true
    this.random.pick(this.parts).disk.failAt(what)
  }

  failReads(chance: number): void {
    this.readErrorChance = chance
    for (const part of this.parts) part.failReads(chance)
    if (chance > 0) this.mayRefuse = this.readsFailed = true
  }

  rotBlock(random: Random, mayDamage: (what: Damaged, isSettled: boolean) => boolean): Mark | undefined {
    const isWanted = (lba: number, isSettled: boolean, isTail: boolean): boolean =>
      mayDamage(isTail ? 'disk' : lba, isSettled)
    const place = this.copy === undefined ? undefined : blockPlace(this.copy, random, isWanted, this.swarm.isErasing)
    if (place === undefined) return undefined
    const { lba, isTail, diskUuid, offsetBytes, lengthBytes } = place
    const part = this.parts.find(({ uuid }) => uuid === diskUuid)!
    const sector = random.int(lengthBytes / SECTOR_BYTES)
    const mark = part.damage(isTail ? 'disk' : lba, offsetBytes + sector * SECTOR_BYTES, random)
    // Where volumes lie side by side it is settled, and no opening reads it.
    return this.swarm.isErasing ? mark : this.damaged(mark)
  }

  rotAnything(random: Random): Mark | undefined {
    const part = random.pick(this.parts)
    const sectors = part.disk.writtenSectors()
    return sectors.length === 0 ? undefined : this.damaged(part.damage('disk', random.pick(sectors), random))
  }

  rotTail(random: Random): Mark | undefined {
    const mark = this.damaged(random.pick(this.parts).rotTail(random))
    const { opens } = this
    // An opening writes where a torn end was, and then it is gone for good.
    return mark && { ...mark, isGone: () => this.opens > opens && mark.isGone() }
  }

  misdirectNext(random: Random): Mark | undefined {
    return this.damaged(random.pick(this.parts).misdirectNext(random))
  }

  private damaged(mark: Mark | undefined): Mark | undefined {
    if (mark === undefined) return undefined
    this.mayRefuse = true
    const undo = (): void => {
      mark.undo()
      this.wasUndone = true
    }
    return { ...mark, undo }
  }

  loseDisk(random: Random): Mark | undefined {
    // One that holds some of the copy, and not all.
    const of = (this.copy?.targets ?? []).map(({ stream }) => stream.context.diskUuid)
    if (of.length < 2) return undefined
    const gone = random.pick(this.parts.filter(({ uuid }) => of.includes(uuid)))
    this.node.parts = this.parts.filter((part) => part !== gone)
    // When it comes back it has what was written to it: who lacks some of that knows it by the boot of his machine.
    gone.kill()
    return {
      what: 'disk',
      // Filled again from the others: then it is missed no more.
      isGone: () => this.copy !== undefined && this.copy.isWhole,
      undo: () => {
        if (this.copy?.isWhole === true) return
        this.node.parts = [...this.parts, gone]
        this.wantsRestart = true
      },
    }
  }

  fillUp(isFull: boolean): void {
    this.node.isFull = isFull
    // One that is being opened gets its first segments before.
    const streams = this.swarm.isErasing ? this.node.store?.streams() : this.copy?.targets.map(({ stream }) => stream)
    if (streams === undefined) return
    if (isFull) for (const part of this.parts) part.fillUp()
    else {
      for (const part of this.parts) part.giveBack()
      for (const stream of streams) {
        stream.supply.start()
        stream.onSpace()
      }
    }
  }

  mend(): void {
    if (this.user !== undefined) this.end()
    this.node.hasFailed = false
    this.losePower(false)
  }

  setSpeed(factor: number): void {
    this.factor = factor
    const [least, most] = this.swarm.disk.writeMs
    for (const { disk } of this.parts) disk.latencyMs = [least * this.factor, most * this.factor]
  }

  content(done: (versions: VersionMap | undefined) => void): void {
    const copy = this.copy!
    const { snapshots, rollbacks } = copy.descriptor() as ReplicatedDescriptor
    const map = emptyVersionMap()
    map.snapshots = snapshots.map(({ id, seq }) => ({ id, seq }))
    map.rollbacks = rollbacks.map(([to, at]) => [to, at])
    map.trimsKeptAbove = -1
    let token = OWN_TOKENS
    let tries = this.isSharing && this.user !== undefined ? REPAIR_TRIES : 0
    const scan = (slice: number, cursor: number) => {
      this.asked = (event) => {
        if (event.type !== 'scanned') return done(undefined)
        if (!event.ok) {
          const { damaged = [] } = event
          if (damaged.length === 0 || tries-- === 0 || this.copy !== copy) return done(undefined)
          // No scrub of this copy looks at what it shares: whoever reads it has it repaired.
          copy.tellDamage(damaged)
          return void this.clock.after(REPAIR_LOOK_MS, () => scan(slice, cursor))
        }
        for (const version of event.versions) insertVersion(map, version)
        if (event.cursor !== undefined) scan(slice, event.cursor)
        else if (slice + 1 < copy.slicesShown()) scan(slice + 1, 0)
        else done(map)
      }
      copy.scan(token++, { slice, above: 0, upTo: copy.appliedSeq, cursor, bytesMax: 1 << 20 })
    }
    scan(0, 0)
  }

  landWrites(): void {
    for (const { disk } of this.parts) disk.misdirectNothing()
  }

  stored(done: (versions: StoredVersion[] | undefined) => void): void {
    if (this.copy === undefined) done([])
    else storedVersions(this.copy, done)
  }

  rotVersion(random: Random, version: StoredVersion, sectors: 'one' | 'all'): Mark | undefined {
    const { lba, diskUuid, offsetBytes, lengthBytes } = version
    const part = this.parts.find(({ uuid }) => uuid === diskUuid)!
    const all = Array.from({ length: lengthBytes / SECTOR_BYTES }, (_, i) => offsetBytes + i * SECTOR_BYTES)
    const marks = (sectors === 'all' ? all : [random.pick(all)]).flatMap((at) => part.damage(lba, at, random) ?? [])
    if (marks.length === 0) return undefined
    return {
      what: lba,
      isGone: () => marks.every((mark) => mark.isGone()),
      undo: () => {
        for (const mark of marks) mark.undo()
      },
    }
  }

  rotHead(random: Random, lba: number, done: (rotten: Rotten | undefined) => void): void {
    this.stored((versions) => {
      const head = versions?.filter((version) => version.lba === lba).sort((a, b) => b.seq - a.seq)[0]
      const mark = head === undefined ? undefined : this.rotVersion(random, head, 'all')
      done(head === undefined || mark === undefined ? undefined : { lba, epoch: head.epoch, seq: head.seq, mark })
    })
  }

  digests(done: (digests: SliceDigest[] | undefined) => void): void {
    const { copy } = this
    if (copy === undefined) return done(undefined)
    function* all(): Task<SliceDigest[] | undefined> {
      const digests: SliceDigest[] = []
      for (let slice = 0; slice < copy!.slicesShown(); slice++) {
        const digest = yield* digestSlice(copy!, slice)
        if (digest === undefined) return undefined
        digests.push(digest)
      }
      return digests
    }
    runTask(all(), done)
  }

  scrub(from: 'resume' | 'anew', done: (found: ScrubFound | undefined) => void): void {
    const { copy } = this
    if (copy === undefined || this.scrubbed === copy) return done(undefined)
    this.scrubbed = copy
    let problems = 0
    const scrub = new CopyScrub(copy, {
      wallMs: () => this.clock.nowMs(),
      pace: (_bytes, go) => go(this.copy === copy),
      limits: SCRUB_LIMITS[this.scrubs++ % SCRUB_LIMITS.length]!,
      structures: {
        isWanted: isCheckable,
        looked: (stream, segment, damages) => {
          if (damages.length > 0) this.node.store?.emptySegment(stream, segment)
        },
      },
      onProblem: () => problems++,
    })
    function* both(): Task<boolean> {
      yield* scrub.openTask()
      if (!(yield* scrub.passTask('deep', () => from))) return false
      return yield* scrub.passTask('light', () => 'anew')
    }
    runTask(both(), (isWhole) => {
      this.scrubbed = undefined
      const { counts, unrepaired } = scrub.summary('deep')
      done(isWhole ? { damaged: counts.damaged, unrepaired, problems } : undefined)
    })
  }

  private end(): void {
    this.user = undefined
    this.copy = undefined
  }
}
